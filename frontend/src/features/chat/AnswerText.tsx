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
  const { finished, last } = now;
  // The last block is in the section that it will belong to once it is finished.
  const sections = Math.floor((finished.length - (last === "" ? 1 : 0)) / SECTION_LENGTH) + 1;
  return (
    <div className="flex min-w-0 flex-col gap-3">
      {Array.from({ length: sections }, (_, section) => {
        const isLast = section === sections - 1;
        return (
          <Section
            // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only appended
            key={section}
            first={section * SECTION_LENGTH}
            // All of a section that cannot change any more, so that it is not rendered again.
            count={isLast ? finished.length - section * SECTION_LENGTH : SECTION_LENGTH}
            blocks={finished}
            last={isLast ? last : ""}
            number={number}
            isLive={isLast && isLive}
          />
        );
      })}
    </div>
  );
});

/** How many blocks are rendered and laid out together. */
const SECTION_LENGTH = 16;

interface SectionProps {
  /** All finished blocks of the answer: only those of the section are read. */
  blocks: readonly string[];
  /** The index of its first block. */
  first: number;
  /** How many of its blocks are finished. */
  count: number;
  /** The block that still grows. */
  last: string;
  number: number;
  isLive: boolean;
}

/** A part of a long answer. The browser lays it out only near the screen. */
const Section = memo(function Section(props: SectionProps) {
  const { blocks, first, count, last, number, isLive } = props;
  return (
    <div className="prose">
      {blocks.slice(first, first + count).map((block, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only appended
        <Block key={index} text={block} index={first + index} number={number} />
      ))}
      {last !== "" && (
        <Block key={count} text={last} index={first + count} number={number} isLive={isLive} />
      )}
    </div>
  );
}, isSameSection);

/** Finished blocks do not change: their number tells whether something was added. */
function isSameSection(one: SectionProps, other: SectionProps): boolean {
  return (
    one.count === other.count &&
    one.last === other.last &&
    one.isLive === other.isLive &&
    one.number === other.number &&
    one.blocks[one.first] === other.blocks[other.first]
  );
}

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
