import { lazy, memo, Suspense, useState } from "react";
import { type Blocks, NO_BLOCKS, openCode, splitBlocks } from "@/features/chat/blocks";
import { CodeBlock } from "@/features/chat/CodeBlock";
import { t } from "@/features/chat/text";

const Markdown = lazy(() => import("@/features/chat/Markdown"));

/** A block longer than this, in characters, is shown as plain text until it is finished. */
const MAX_LIVE_LENGTH = 6_000;

interface Props {
  text: string;
  /** Whether more of it is to come. */
  isLive: boolean;
  /** The number of the answer in the conversation, to name its parts. */
  number: number;
}

/** The text of an answer. While it arrives, only its last block is rendered again. */
export const AnswerText = memo(function AnswerText({ text, isLive, number }: Props) {
  const [blocks, setBlocks] = useState<Blocks>(NO_BLOCKS);
  const now = blocks.source === text ? blocks : splitBlocks(text, blocks);
  if (now !== blocks) setBlocks(now);
  return (
    <div className="prose">
      {now.finished.map((block, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only appended
        <Block key={index} text={block} index={index} number={number} />
      ))}
      {now.last !== "" && (
        <Block
          key={now.finished.length}
          text={now.last}
          index={now.finished.length}
          number={number}
          isLive={isLive}
        />
      )}
    </div>
  );
});

interface BlockProps {
  text: string;
  index: number;
  number: number;
  isLive?: boolean;
}

const Block = memo(function Block({ text, index, number, isLive = false }: BlockProps) {
  const name = t("answer.part", { part: index + 1, number });
  const code = isLive ? openCode(text) : undefined;
  if (code !== undefined) {
    return (
      <CodeBlock name={name} language={code.language} isOpen>
        {code.text}
      </CodeBlock>
    );
  }
  if (isLive && text.length > MAX_LIVE_LENGTH) return <Plain text={text} />;
  return (
    <Suspense fallback={<Plain text={text} />}>
      <Markdown text={text} name={name} />
    </Suspense>
  );
});

function Plain({ text }: { text: string }) {
  return <p className="whitespace-pre-wrap">{text}</p>;
}
