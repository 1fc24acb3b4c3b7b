import { ChevronRight, RotateCw } from "lucide-react";
import { memo } from "react";
import { Button } from "@/components/Button";
import { CopyButton } from "@/components/CopyButton";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Notice } from "@/components/Notice";
import { Spinner } from "@/components/Spinner";
import { AnswerText } from "@/features/chat/AnswerText";
import { t } from "@/features/chat/text";
import type { Answer } from "@/features/chat/turns";

interface Props {
  answer: Answer;
  /** Its number among the answers, from 1. */
  number: number;
  /** Asks again; only for the last answer. */
  onRetry: (() => void) | undefined;
}

export const AnswerItem = memo(function AnswerItem({ answer, number, onRetry }: Props) {
  const { model, text, state } = answer;
  const isLive = state === "waiting" || state === "streaming";
  return (
    <article className="flex min-w-0 flex-col gap-2.5">
      <h3 className="font-medium text-muted text-sm wrap-anywhere">{model}</h3>
      {answer.thinking !== "" && <Thinking answer={answer} number={number} />}
      {state === "waiting" && (
        <p className="flex items-center gap-2 text-muted">
          <Spinner />
          {t("answer.waiting")}
        </p>
      )}
      {text !== "" && <AnswerText text={text} isLive={isLive} number={number} />}
      {state === "done" && text === "" && <p className="text-muted">{t("answer.empty")}</p>}
      {state === "stopped" && <p className="text-muted text-sm">{t("answer.stopped")}</p>}
      {answer.counts?.isCutOff === true && (
        <Notice tone="warning" title={t("answer.cutOff")}>
          {t("answer.cutOffDetail")}
        </Notice>
      )}
      {state === "failed" && <ErrorNotice error={answer.error} onRetry={onRetry} />}
      <div className="flex flex-wrap items-center gap-x-1 gap-y-1 text-muted text-xs">
        <Numbers answer={answer} />
        {!isLive && text !== "" && <CopyButton text={text} target={t("answer.name", { number })} />}
        {!isLive && state !== "failed" && onRetry !== undefined && (
          <Button size="sm" variant="quiet" icon={RotateCw} onClick={onRetry}>
            {t("answer.retry")}
          </Button>
        )}
      </div>
    </article>
  );
});

function Thinking({ answer, number }: { answer: Answer; number: number }) {
  const { thinking, thinkingTime, state } = answer;
  const isThinking = state === "streaming" && answer.text === "";
  const title =
    thinkingTime === undefined
      ? t(isThinking ? "thinking.now" : "thinking.past")
      : t("thinking.time", { count: Math.max(1, Math.round(thinkingTime / 1000)) });
  return (
    <details className="group">
      <summary className="inline-flex min-h-6 list-none items-center gap-1 rounded text-muted text-sm hover:text-text">
        <ChevronRight aria-hidden className="size-3.5 group-open:rotate-90" />
        {isThinking && <Spinner />}
        {title} <span className="sr-only">{t("thinking.of", { number })}</span>
      </summary>
      <p className="mt-1 whitespace-pre-wrap border-line border-s-2 ps-3 text-muted text-sm wrap-anywhere">
        {thinking}
      </p>
    </details>
  );
}

/** While the answer arrives, the parts are counted; in the end, Ollama's own numbers are shown. */
function Numbers({ answer }: { answer: Answer }) {
  const { counts, parts } = answer;
  if (counts === undefined) {
    return parts === 0 ? null : <p className="pe-1">{t("counts.about", { count: parts })}</p>;
  }
  const { tokensPerSecond, promptTokens, answerTokens, seconds } = counts;
  return (
    <ul className="flex flex-wrap gap-x-3 pe-1 tabular-nums">
      {tokensPerSecond !== undefined && (
        <li>{t("counts.speed", { speed: tokensPerSecond.toFixed(1) })}</li>
      )}
      <li>{t("counts.answer", { count: answerTokens })}</li>
      <li>{t("counts.prompt", { count: promptTokens })}</li>
      <li>{t("counts.time", { seconds: seconds.toFixed(1) })}</li>
    </ul>
  );
}
