import { memo } from "react";
import { CopyButton } from "@/components/CopyButton";
import { t } from "@/features/chat/text";

interface Props {
  language: string;
  /** The code. */
  children: string;
  /** What the code is part of, to name it. */
  name: string;
  /** Whether more of it is to come. */
  isOpen?: boolean;
}

/** Lines that are laid out together. Only the last group changes while code arrives. */
const GROUP = 40;

/** Code with its language and a button that copies it. */
export function CodeBlock({ language, children, name, isOpen = false }: Props) {
  return (
    <div className="code">
      <div className="flex min-h-8 items-center justify-between gap-2 border-line border-b ps-3 pe-1">
        <span className="text-muted text-xs">{language === "" ? t("code.plain") : language}</span>
        {!isOpen && <CopyButton text={children} target={t("code.target", { name })} />}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach what scrolls */}
      <pre tabIndex={0}>{isOpen ? <Growing text={children} /> : <code>{children}</code>}</pre>
    </div>
  );
}

function Growing({ text }: { text: string }) {
  const lines = text.split("\n");
  const groups = Array.from({ length: Math.ceil(lines.length / GROUP) }, (_, index) =>
    lines.slice(index * GROUP, (index + 1) * GROUP).join("\n"),
  );
  return (
    <code>
      {groups.map((group, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: groups are only appended
        <Group key={index} text={group} />
      ))}
    </code>
  );
}

const Group = memo(function Group({ text }: { text: string }) {
  return <span className="block">{text === "" ? "\n" : text}</span>;
});
