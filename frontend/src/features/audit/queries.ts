import { keepPreviousData, queryOptions, useMutation } from "@tanstack/react-query";
import { send } from "@/api/client";
import type { components } from "@/api/schema";
import { typesLike } from "@/features/audit/events";
import { type AuditSearch, DEFAULT_LIMIT } from "@/features/audit/search";
import { saveFile } from "@/lib/download";

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
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** One page of events, newest first. */
export function eventsQuery(search: AuditSearch) {
  const { limit = DEFAULT_LIMIT, before } = search;
  const query = parameters({ ...toFilter(search), limit, cursor: before });
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
      const { rows } = await fetchEvents(parameters({ cursor: id + 1, limit: 1 }), signal);
      return rows.find((event) => event.id === id) ?? null;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}

async function fetchEvents(query: string, signal: AbortSignal): Promise<EventPage> {
  const response = await send(`/audit?${query}`, { signal });
  const cursor = response.headers.get("X-Next-Cursor");
  const rows: AuditEvent[] = await response.json();
  return { rows, next: cursor === null ? undefined : Number(cursor) };
}

/** How far the chain of events is verified. */
export interface Chain {
  state: "verified" | "verifying" | "broken";
  head: { position: number; hash: string };
  verified: { position: number; hash: string; at: string } | null;
  complete_at: string | null;
  defect: string | null;
}

const CHAIN_INTERVAL = 60_000;
const VERIFYING_INTERVAL = 3_000;

export const chainQuery = queryOptions({
  queryKey: ["audit", "chain"],
  queryFn: async ({ signal }): Promise<Chain> => {
    const response = await send("/audit/chain", { signal });
    return response.json();
  },
  refetchInterval: ({ state }) =>
    state.data?.state === "verifying" ? VERIFYING_INTERVAL : CHAIN_INTERVAL,
});

/** Saves every event that the filter selects, on all pages. Returns the name of the file. */
export function useExport(search: AuditSearch) {
  return useMutation({
    mutationFn: async (format: "csv" | "ndjson") => {
      const query = parameters({ ...toFilter(search), format });
      const response = await send(`/audit/export?${query}`);
      const header = response.headers.get("Content-Disposition") ?? "";
      const name = /filename="([^"]+)"/.exec(header)?.[1] ?? `paddock-audit.${format}`;
      saveFile(await response.blob(), name);
      return name;
    },
  });
}

function parameters(values: Record<string, string | number | undefined>): string {
  const present = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)]],
  );
  return new URLSearchParams(present).toString();
}
