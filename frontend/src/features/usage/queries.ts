import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { client, unwrapPage } from "@/api/client";
import type { components } from "@/api/schema";
import { isOneDay, type Period } from "@/features/usage/period";

export type Totals = components["schemas"]["Totals"];
export type UsageRow = components["schemas"]["UsageGroup"];

export interface UsageFilter {
  period: Period;
  user?: number | undefined;
  key?: number | undefined;
  model?: string | undefined;
}

/** The most rows that the API answers at once, and the most that a page asks for. */
const LIMIT = 1000;
const MAX_ROWS = 50_000;

/** All totals of a period by the given groups, such as `user,model`. */
export function usageQuery(groups: string, filter: UsageFilter) {
  const { period, user, key, model } = filter;
  const query = {
    ...period,
    group_by: groups,
    ...(user !== undefined && { user_id: user }),
    ...(key !== undefined && { credential_id: key }),
    ...(model !== undefined && { model }),
  };
  return queryOptions({
    queryKey: ["usage", query],
    queryFn: async ({ signal }) => {
      const all: UsageRow[] = [];
      for (let isMore = true; isMore && all.length < MAX_ROWS; ) {
        const page = { ...query, limit: LIMIT, offset: all.length };
        const { rows, total } = await unwrapPage(
          client.GET("/usage", { params: { query: page }, signal }),
        );
        all.push(...rows);
        isMore = rows.length > 0 && all.length < total;
      }
      return all;
    },
    placeholderData: keepPreviousData,
  });
}

/** The totals over time by model: by hour for one day, else by day. */
export function seriesQuery(filter: UsageFilter) {
  return usageQuery(isOneDay(filter.period) ? "hour,model" : "day,model", filter);
}
