import { queryOptions } from "@tanstack/react-query";
import { client, unwrap, unwrapPage } from "@/api/client";
import { ApiError } from "@/api/problem";

/** In milliseconds. */
const READINESS_INTERVAL = 15_000;

/** How many users the command palette shows. */
const MAX_PALETTE_USERS = 6;

export interface Readiness {
  state: "ok" | "degraded" | "down" | "unreachable";
  /** The parts that `/readyz` calls degraded. */
  degraded: string[];
  /** What `/readyz` says about a server that is not ready. */
  detail: string;
}

/** Whether the server and its parts work. A server that is not ready is an answer, not an error. */
export const readinessQuery = queryOptions({
  queryKey: ["readiness"],
  queryFn: async ({ signal }): Promise<Readiness> => {
    try {
      const { degraded } = await unwrap(client.GET("/readyz", { signal }));
      return { state: degraded.length === 0 ? "ok" : "degraded", degraded, detail: "" };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const state = error.status === 0 ? "unreachable" : "down";
      return { state, degraded: [], detail: error.detail };
    }
  },
  refetchInterval: READINESS_INTERVAL,
  staleTime: READINESS_INTERVAL,
});

/** The first users that match the words in the command palette. */
export function paletteUsersQuery(q: string) {
  const query = { q, limit: MAX_PALETTE_USERS };
  return queryOptions({
    queryKey: ["users", "palette", q],
    queryFn: ({ signal }) => unwrapPage(client.GET("/users", { params: { query }, signal })),
  });
}
