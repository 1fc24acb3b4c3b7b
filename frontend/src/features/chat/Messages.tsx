import { ArrowDown, MessageSquareText } from "lucide-react";
import { memo } from "react";
import { EmptyState } from "@/components/EmptyState";
import { IconButton } from "@/components/IconButton";
import { AnswerItem } from "@/features/chat/AnswerItem";
import { imageUrl } from "@/features/chat/images";
import { t } from "@/features/chat/text";
import type { Question, Turn } from "@/features/chat/turns";
import { useFollow } from "@/features/chat/use-follow";

interface Props {
  turns: readonly Turn[];
  isBusy: boolean;
  onRetry: () => void;
}

/** The conversation, oldest first. The end stays in view while the reader is there. */
export function Messages({ turns, isBusy, onRetry }: Props) {
  const questions = turns.filter((turn) => turn.role === "user");
  const { ref, onScroll, isAtBottom, toBottom } = useFollow(questions.at(-1)?.id);
  return (
    <div className="relative min-h-0 flex-1">
      <div
        ref={ref}
        onScroll={onScroll}
        role="log"
        aria-label={t("log.label")}
        aria-busy={isBusy}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach what scrolls
        tabIndex={0}
        className="h-full overflow-y-auto overscroll-contain [overflow-anchor:none]"
      >
        <div className="mx-auto flex min-h-full w-full max-w-[52rem] flex-col gap-5 px-4 py-5">
          {turns.length === 0 ? (
            <div className="m-auto">
              <EmptyState icon={MessageSquareText} title={t("empty.title")}>
                {t("empty.detail")}
              </EmptyState>
            </div>
          ) : (
            turns.map((turn, index) =>
              turn.role === "user" ? (
                <QuestionItem key={turn.id} question={turn} />
              ) : (
                <AnswerItem
                  key={turn.id}
                  answer={turn}
                  number={turns.slice(0, index + 1).filter(isAnswer).length}
                  onRetry={index === turns.length - 1 ? onRetry : undefined}
                />
              ),
            )
          )}
        </div>
      </div>
      {!isAtBottom && (
        <div className="absolute end-4 bottom-3 rounded-md border border-line bg-raised shadow-overlay">
          <IconButton icon={ArrowDown} label={t("log.toEnd")} onClick={toBottom} />
        </div>
      )}
    </div>
  );
}

const isAnswer = (turn: Turn) => turn.role === "assistant";

const QuestionItem = memo(function QuestionItem({ question }: { question: Question }) {
  return (
    <article className="flex max-w-[85%] flex-col items-end gap-2 self-end">
      <h3 className="sr-only">{t("log.you")}</h3>
      {question.images.length > 0 && (
        <ul className="flex flex-wrap justify-end gap-2">
          {question.images.map((image) => (
            <li key={image.id}>
              <img
                src={imageUrl(image)}
                alt={image.name}
                className="max-h-40 max-w-full rounded-lg border border-line"
              />
            </li>
          ))}
        </ul>
      )}
      {question.text !== "" && (
        <p className="whitespace-pre-wrap rounded-xl bg-hover px-3.5 py-2 wrap-anywhere">
          {question.text}
        </p>
      )}
    </article>
  );
});
