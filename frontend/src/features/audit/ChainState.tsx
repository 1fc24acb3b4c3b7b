import type { UseQueryResult } from "@tanstack/react-query";
import { ShieldCheck, ShieldEllipsis } from "lucide-react";
import { CopyButton } from "@/components/CopyButton";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Notice } from "@/components/Notice";
import { Skeleton } from "@/components/Skeleton";
import type { Chain } from "@/features/audit/queries";
import { t } from "@/features/audit/text";
import { useNow } from "@/lib/clock";
import { absoluteTime, relativeTime } from "@/lib/time";

/** Whether the log is as it was written, and the head to keep elsewhere. */
export function ChainState({ chain }: { chain: UseQueryResult<Chain> }) {
  const { data, error, refetch } = chain;
  if (data === undefined) {
    return error === null ? (
      <div className="min-h-10">
        <Skeleton label={t("chain.loading")} lines={1} />
      </div>
    ) : (
      <ErrorNotice error={error} onRetry={() => void refetch()} what={t("chain.what")} />
    );
  }
  return (
    <section aria-label={t("chain.title")} className="flex flex-col gap-2">
      {data.state === "broken" && (
        <Notice tone="danger" title={t("chain.broken")} isAnnounced>
          {data.defect !== null && <p>{data.defect}</p>}
          <p>{t("chain.brokenDetail")}</p>
        </Notice>
      )}
      <div className="flex min-h-10 flex-wrap items-center gap-x-6 gap-y-1 text-sm">
        <p className="flex min-w-0 flex-wrap items-center gap-x-1.5 text-muted">
          {t("chain.head", { position: data.head.position })}
          <code title={data.head.hash} className="font-mono text-xs">
            {data.head.hash.slice(0, 12)}…
          </code>
          <CopyButton text={`${data.head.position} ${data.head.hash}`} target={t("chain.copy")} />
        </p>
        {data.state !== "broken" && <Verified chain={data} />}
      </div>
    </section>
  );
}

function Verified({ chain: { state, verified, complete_at } }: { chain: Chain }) {
  const now = useNow(10_000);
  const isDone = state === "verified" && verified !== null;
  const Icon = isDone ? ShieldCheck : ShieldEllipsis;
  return (
    <p
      title={verified === null ? undefined : absoluteTime(verified.at)}
      className={`flex items-start gap-1.5 ${isDone ? "text-accent-text" : "text-muted"}`}
    >
      <Icon aria-hidden className="mt-0.5 size-4 shrink-0" />
      <span>
        {verified === null
          ? t("chain.verifyingFirst")
          : t("chain.verified", {
              position: verified.position,
              when: timeAgo(verified.at, now),
            })}
        {/* Always two lines, and last: whatever they say, nothing moves. */}
        <span className="block text-muted">
          {isDone || verified === null ? wholeText(complete_at, now) : t("chain.verifying")}
        </span>
      </span>
    </p>
  );
}

function wholeText(completeAt: string | null, now: number): string {
  if (completeAt === null) return t("chain.wholeFirst");
  return t("chain.whole", { when: timeAgo(completeAt, now) });
}

/** The server's clock may be ahead of this one. */
function timeAgo(time: string, now: number): string {
  return relativeTime(Math.min(Date.parse(time), now), now);
}
