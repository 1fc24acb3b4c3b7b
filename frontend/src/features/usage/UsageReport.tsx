import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useMemo } from "react";
import { useDirectory } from "@/api/names";
import { Breakdown } from "@/features/usage/Breakdown";
import { Filters } from "@/features/usage/Filters";
import { OverTime } from "@/features/usage/OverTime";
import { dayText, isOneDay, lastDay, type Period, periodOf } from "@/features/usage/period";
import { type UsageFilter, usageQuery } from "@/features/usage/queries";
import { RangePicker } from "@/features/usage/RangePicker";
import { Summary } from "@/features/usage/Summary";
import type { ChangeSearch, UsageSearch, View } from "@/features/usage/search";
import { t } from "@/features/usage/text";
import { colouredModels, countUsers, sumOf } from "@/features/usage/totals";
import { useNow } from "@/lib/clock";

interface Props {
  search: UsageSearch;
  onSearch: ChangeSearch;
  /** What the rows of the table may be; the first one is the default. */
  views: readonly View[];
  /** The user whose usage it is, on the page of that user. */
  owner?: number;
  children?: ReactNode;
}

const GROUPS: Record<View, string> = { user: "user,model", key: "user,key,model", model: "model" };

/** Usage in a range of days: the sum, over time, and by user, key or model. */
export function UsageReport({ search, onSearch, views, owner, children }: Props) {
  const period = periodOf(search, useNow(60_000));
  const view = views.find((each) => each === search.by) ?? views[0] ?? "user";
  const { key, model } = search;
  const filter: UsageFilter = { period, user: owner ?? search.user, key, model };
  const query = useQuery(usageQuery(GROUPS[view], filter));
  const directory = useDirectory({ users: [search.user], keys: [key] });
  const models = useMemo(() => colouredModels(query.data ?? []), [query.data]);
  return (
    <>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <RangePicker search={search} period={period} onSearch={onSearch} />
        <p className="text-muted text-sm">{periodText(period)}</p>
      </div>
      <Filters search={search} directory={directory} onSearch={onSearch} />
      {query.error === null && (
        <Summary
          totals={query.data && sumOf(query.data)}
          users={owner === undefined && view !== "model" ? countUsers(query.data ?? []) : undefined}
        />
      )}
      {children}
      <OverTime
        filter={filter}
        models={models}
        onDay={(day) => onSearch({ range: "custom", from: day, through: day, page: undefined })}
      />
      <Breakdown
        query={query}
        search={search}
        onSearch={onSearch}
        view={view}
        views={views}
        period={period}
        directory={directory}
        isOneUser={owner !== undefined}
        models={models}
      />
    </>
  );
}

function periodText(period: Period): string {
  const first = dayText(period.from);
  return isOneDay(period)
    ? t("range.oneDay", { day: first })
    : t("range.days", { first, last: dayText(lastDay(period)) });
}
