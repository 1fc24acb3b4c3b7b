import { useQuery } from "@tanstack/react-query";
import { ErrorNotice } from "@/components/ErrorNotice";
import { PageLink } from "@/components/PageLink";
import { Placeholder } from "@/components/Placeholder";
import { dayQuery } from "@/features/overview/queries";
import { t } from "@/features/overview/text";
import { useNow } from "@/lib/clock";
import { exact, short } from "@/lib/numbers";

type Day = { requests: number; failed: number; tokens: number; users: number };

/** Requests and tokens of the UTC day, beside those of the day before. */
export function Today() {
  const now = useNow(60_000);
  const today = useQuery(dayQuery(now, 0));
  const yesterday = useQuery(dayQuery(now, 1));
  if (today.error !== null && today.data === undefined) {
    const retry = () => void today.refetch();
    return <ErrorNotice error={today.error} onRetry={retry} what={t("today.what")} />;
  }
  const sum = today.data && sumOf(today.data);
  const before = sumOf(yesterday.data ?? []);
  return (
    <section
      aria-label={t("today.title")}
      aria-busy={sum === undefined}
      className="flex flex-col gap-2"
    >
      <dl className="grid grid-cols-2 gap-px overflow-hidden rounded-[0.625rem] border border-line bg-line lg:grid-cols-4">
        {(["requests", "tokens", "users", "failed"] as const).map((id) => (
          <div key={id} className="min-w-0 bg-surface px-4 py-3">
            <dt className="text-muted text-sm">{t(`today.${id}`)}</dt>
            <dd
              title={sum && exact(sum[id])}
              className="mt-0.5 font-semibold text-xl tabular-nums tracking-tight"
            >
              {sum === undefined ? <Placeholder /> : short(sum[id])}
            </dd>
            <dd className="min-h-5 text-muted text-sm">
              {yesterday.data !== undefined && t("today.before", { value: short(before[id]) })}
            </dd>
          </div>
        ))}
      </dl>
      <p className="text-muted text-sm">
        {t("today.utc")}{" "}
        <PageLink page="usage" search={{ range: "today" }}>
          {t("today.more")}
        </PageLink>
      </p>
    </section>
  );
}

function sumOf(rows: readonly Omit<Day, "users">[]): Day {
  const sum: Day = { requests: 0, failed: 0, tokens: 0, users: rows.length };
  for (const row of rows) {
    sum.requests += row.requests;
    sum.failed += row.failed;
    sum.tokens += row.tokens;
  }
  return sum;
}
