import { keepPreviousData, queryOptions, useMutation } from "@tanstack/react-query";
import { client, send, unwrap } from "@/api/client";
import type { components, operations } from "@/api/schema";
import { typesLike } from "@/features/audit/events";
import { type AuditSearch, DEFAULT_LIMIT } from "@/features/audit/search";
import { saveFile } from "@/lib/download";
import { compact } from "@/lib/search";

export type AuditEvent = components["schemas"]["AuditEvent"];

export interface EventPage {
  rows: AuditEvent[];
  /** Where the next page begins; undefined on the last one. */
  next: number | undefined;
}

/** Those who act without a key: people. */
const PEOPLE = "user,anonymous";

/** The filter of the list and of the export, as the API names it. */
function toFilter(search: AuditSearch) {
  const { event, group, result, actor, user, key, target, request, since, until, people } = search;
  const all = {
    event_type: event === undefined ? undefined : typesLike(event).join(","),
    group,
    result,
    actor,
    actor_kind: people ? PEOPLE : undefined,
    user_id: user,
    credential_id: key,
    target,
    request_id: request,
    since,
    until,
  };
  return compact(all);
}

/** One page of events, newest first. */
export function eventsQuery(search: AuditSearch) {
  const { limit = DEFAULT_LIMIT, before } = search;
  const query = compact({ ...toFilter(search), limit, cursor: before });
  return queryOptions({
    queryKey: ["audit", "list", query],
    queryFn: ({ signal }) => fetchEvents(query, signal),
    placeholderData: keepPreviousData,
  });
}

/** One event. Null: there is no such row. */
export function eventQuery(id: number) {
  return queryOptions({
    queryKey: ["audit", "one", id],
    // The cursor is the row after the first one of a page.
    queryFn: async ({ signal }) => {
      const { rows } = await fetchEvents({ cursor: id + 1, limit: 1 }, signal);
      return rows.find((event) => event.id === id) ?? null;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}

type Query = NonNullable<operations["list_audit"]["parameters"]["query"]>;

async function fetchEvents(query: Query, signal: AbortSignal): Promise<EventPage> {
  const answer = await client.GET("/audit", { params: { query }, signal });
  const rows = await unwrap(Promise.resolve(answer));
  const cursor = answer.response.headers.get("X-Next-Cursor");
  return { rows, next: cursor === null ? undefined : Number(cursor) };
}

/** How far the chain of events is verified. */
export type Chain = components["schemas"]["AuditChain"];

const CHAIN_INTERVAL = 60_000;
const VERIFYING_INTERVAL = 3_000;

export const chainQuery = queryOptions({
  queryKey: ["audit", "chain"],
  queryFn: ({ signal }): Promise<Chain> => unwrap(client.GET("/audit/chain", { signal })),
  refetchInterval: ({ state }) =>
    state.data?.state === "verifying" ? VERIFYING_INTERVAL : CHAIN_INTERVAL,
});

/** Saves every event that the filter selects, on all pages. Returns the name of the file. */
export function useExport(search: AuditSearch) {
  return useMutation({
    mutationFn: async (format: "csv" | "ndjson") => {
      const texts = Object.entries(toFilter(search)).map(([name, value]) => [name, String(value)]);
      const query = new URLSearchParams([...texts, ["format", format]]);
      const response = await send(`/audit/export?${query}`);
      const header = response.headers.get("Content-Disposition") ?? "";
      const name = /filename="([^"]+)"/.exec(header)?.[1] ?? `paddock-audit.${format}`;
      saveFile(await response.blob(), name);
      return name;
    },
  });
}
