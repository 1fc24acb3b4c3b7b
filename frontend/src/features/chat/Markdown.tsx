import { memo, type ReactNode, useMemo } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { CodeBlock } from "@/features/chat/CodeBlock";
import { t } from "@/features/chat/text";

interface Props {
  text: string;
  /** What the text is, to name its parts: “part 2 of answer 3”. Unique on the page. */
  name: string;
}

/**
 * One block of Markdown that a model wrote, so nothing in it is trusted: HTML is shown as text,
 * images are not loaded, and links lead to other sites only.
 */
export default memo(function Markdown({ text, name }: Props) {
  const components = useMemo(() => componentsOf(name), [name]);
  const options = useMemo(() => ({ clobberPrefix: `${name}-`.replaceAll(" ", "-") }), [name]);
  return (
    <ReactMarkdown
      remarkPlugins={PLUGINS}
      remarkRehypeOptions={options}
      urlTransform={safeUrl}
      components={components}
    >
      {text}
    </ReactMarkdown>
  );
});

function componentsOf(name: string): Components {
  return {
    ...COMPONENTS,
    pre: ({ children }) => {
      const { language, text } = codeOf(children);
      return (
        <CodeBlock name={name} language={language}>
          {text}
        </CodeBlock>
      );
    },
    table: ({ children }) => (
      // biome-ignore lint/a11y/useSemanticElements: a fieldset is for controls
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach what scrolls
      <div role="group" tabIndex={0} aria-label={t("answer.table", { name })} className="wide">
        <table>{children}</table>
      </div>
    ),
  };
}

const PLUGINS = [remarkGfm];

/** Headings start below those of the page. */
const COMPONENTS: Components = {
  h1: ({ children }) => <h3>{children}</h3>,
  h2: ({ children }) => <h4>{children}</h4>,
  h3: ({ children }) => <h5>{children}</h5>,
  h4: ({ children }) => <h6>{children}</h6>,
  h5: ({ children }) => <h6>{children}</h6>,
  a: ({ href, children }) =>
    href === undefined || href === "" ? (
      <span>{children}</span>
    ) : (
      <a href={href} title={href} target="_blank" rel="noopener noreferrer nofollow">
        {children}
      </a>
    ),
  img: ({ alt }) => <span className="text-muted">{t("answer.image", { alt: alt ?? "" })}</span>,
  // The box of a task list.
  input: ({ checked }) => (
    <span role="img" aria-label={t(checked === true ? "answer.done" : "answer.open")}>
      {checked === true ? "☑" : "☐"}
    </span>
  ),
};

/** An absolute address that a browser opens as a page or a mail. Everything else is no link. */
function safeUrl(url: string): string {
  return /^(?:https?:\/\/|mailto:)/i.test(url.trim()) ? url : "";
}

interface Code {
  language: string;
  text: string;
}

/** `pre` has one child: the `code`. */
function codeOf(children: ReactNode): Code {
  const { className = "", children: text } = propsOf(children);
  const language = /language-(\S+)/.exec(className)?.[1] ?? "";
  return { language, text: String(text ?? "").replace(/\n$/, "") };
}

function propsOf(element: ReactNode): { className?: string; children?: ReactNode } {
  return typeof element === "object" && element !== null && "props" in element
    ? (element.props as { className?: string; children?: ReactNode })
    : {};
}
