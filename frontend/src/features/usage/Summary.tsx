import type { ReactNode } from "react";
import { Placeholder } from "@/components/Placeholder";
import type { Totals } from "@/features/usage/queries";
import { t } from "@/features/usage/text";
import { NOTHING, tokensOf } from "@/features/usage/totals";
import { exact, percent, short } from "@/lib/numbers";

interface Props {
  /** Undefined while they are being loaded. */
  totals: Totals | undefined;
  /** How many users have used a model; undefined where it is always one. */
  users?: number | undefined;
}

/** The period in a few numbers. */
export function Summary({ totals: loaded, users }: Props) {
  const isLoading = loaded === undefined;
  const totals = loaded ?? NOTHING;
  const tokens = tokensOf(totals);
  return (
    <dl
      aria-busy={isLoading}
      className="grid grid-cols-2 gap-px overflow-hidden rounded-[0.625rem] border border-line bg-line lg:grid-cols-4"
    >
      <Figure
        isLoading={isLoading}
        title={t("summary.tokens")}
        value={short(tokens)}
        exactly={exact(tokens)}
      >
        {t("summary.split", {
          prompt: short(totals.prompt_tokens),
          completion: short(totals.completion_tokens),
        })}
      </Figure>
      <Figure
        isLoading={isLoading}
        title={t("summary.requests")}
        value={short(totals.requests)}
        exactly={exact(totals.requests)}
      >
        {t("summary.failed", {
          count: totals.failed,
          share: percent(totals.failed, totals.requests),
        })}
      </Figure>
      <Figure
        isLoading={isLoading}
        title={t("summary.cached")}
        value={percent(totals.cached_prompt_tokens, totals.prompt_tokens)}
        exactly={exact(totals.cached_prompt_tokens)}
      >
        {t("summary.cachedHint")}
      </Figure>
      <Figure
        isLoading={isLoading}
        title={t(users === undefined ? "summary.average" : "summary.users")}
        value={users === undefined ? short(averageOf(tokens, totals.requests)) : exact(users)}
        exactly={exact(users ?? averageOf(tokens, totals.requests))}
      >
        {t(users === undefined ? "summary.averageHint" : "summary.usersHint")}
      </Figure>
    </dl>
  );
}

interface FigureProps {
  isLoading: boolean;
  title: string;
  value: string;
  /** The number without rounding, for the tooltip. */
  exactly: string;
  children: ReactNode;
}

/** As high while it is being loaded as afterwards, so that nothing below moves. */
function Figure({ isLoading, title, value, exactly, children }: FigureProps) {
  return (
    <div className="min-w-0 bg-surface px-4 py-3">
      <dt className="text-muted text-sm">{title}</dt>
      <dd
        title={isLoading ? undefined : exactly}
        className="mt-0.5 font-semibold text-xl tabular-nums tracking-tight"
      >
        {isLoading ? <Placeholder /> : value}
      </dd>
      <dd className={`text-muted text-sm ${isLoading ? "invisible" : ""}`}>{children}</dd>
    </div>
  );
}

function averageOf(tokens: number, requests: number): number {
  return requests === 0 ? 0 : Math.round(tokens / requests);
}
