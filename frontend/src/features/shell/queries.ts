import { queryOptions } from "@tanstack/react-query";
import { client, unwrap } from "@/api/client";
import { ApiError } from "@/api/problem";

/** In milliseconds. */
const READINESS_INTERVAL = 15_000;

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
