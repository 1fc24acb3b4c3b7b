import type { UseQueryResult } from "@tanstack/react-query";
import type { LimitStates } from "@/api/me";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { Skeleton } from "@/components/Skeleton";
import { t } from "@/components/text";
import { useNow } from "@/lib/clock";
import { exact } from "@/lib/numbers";
import { absoluteTime, relativeTime } from "@/lib/time";

type LimitId = keyof LimitStates;

const LIMITS: readonly LimitId[] = [
  "requests_per_minute",
  "tokens_per_minute",
  "tokens_per_day",
  "tokens_per_month",
  "max_concurrent",
];

/** The part of a limit below which the bar warns. */
const SCARCE = 0.2;

/** What is left of each limit, and when it is full again. */
export function LimitsLeft({ limits }: { limits: UseQueryResult<LimitStates> }) {
  const { data, error, refetch } = limits;
  const present = LIMITS.filter((id) => data?.[id] != null);
  return (
    <Panel title={t("left.title")} description={t("left.description")}>
      <ErrorNotice error={error} onRetry={() => void refetch()} what={t("left.what")} />
      {data === undefined && error === null && <Skeleton label={t("left.loading")} lines={2} />}
      {data !== undefined && present.length === 0 && <p className="text-muted">{t("left.none")}</p>}
      {data !== undefined && present.length > 0 && (
        <ul className="grid gap-x-8 gap-y-4 grid-cols-[repeat(auto-fill,minmax(min(14rem,100%),1fr))]">
          {present.map((id) => (
            <Limit key={id} id={id} state={data[id]} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

interface LimitProps {
  id: LimitId;
  state: LimitStates[LimitId];
}

function Limit({ id, state }: LimitProps) {
  if (state === null) return null;
  const name = t(`left.name.${id}`);
  return (
    <li className="flex min-w-0 flex-col gap-1">
      <span className="font-medium">{name}</span>
      <Left
        name={name}
        limit={state.limit}
        left={state.left}
        resetsAt={"resets_at" in state ? state.resets_at : undefined}
      />
    </li>
  );
}

interface LeftProps {
  name: string;
  limit: number;
  left: number;
  /** Absent: the rest is free as soon as requests end. */
  resetsAt: string | undefined;
}

function Left({ name, limit, left: lastLeft, resetsAt }: LeftProps) {
  const now = useNow(10_000);
  const isFull = lastLeft >= limit || (resetsAt !== undefined && Date.parse(resetsAt) <= now);
  const left = isFull ? limit : lastLeft;
  return (
    <>
      <meter aria-label={name} min={0} max={limit} value={left} className="sr-only" />
      <svg aria-hidden="true" className="block h-2 w-full">
        <rect width="100%" height="100%" rx="3" className="fill-subtle" />
        <rect
          width={`${limit === 0 ? 0 : Math.min(100, (100 * left) / limit)}%`}
          height="100%"
          rx="3"
          className={left < limit * SCARCE ? "fill-warning-text" : "fill-accent"}
        />
      </svg>
      {/* Always two lines: nothing moves when the limit is full again. */}
      <div className="flex flex-col text-muted text-sm tabular-nums">
        <span>{t("left.left", { left: exact(left), limit: exact(limit) })}</span>
        {isFull ? (
          <span>{t("left.full")}</span>
        ) : resetsAt === undefined ? (
          <span>{t("left.resetsAtEnd")}</span>
        ) : (
          <time dateTime={resetsAt} title={absoluteTime(resetsAt)}>
            {t("left.resets", { when: relativeTime(resetsAt, now) })}
          </time>
        )}
      </div>
    </>
  );
}
