import { queryOptions } from "@tanstack/react-query";
import { client, unwrap, unwrapPage } from "@/api/client";
import { ApiError } from "@/api/problem";
import type { components } from "@/api/schema";

export type AuditEvent = components["schemas"]["AuditEvent"];
type Backend = components["schemas"]["Backend"];
type Totals = components["schemas"]["Totals"];

/** How often a page that stays open is brought up to date, in milliseconds. */
const INTERVAL = 30_000;
const DAY = 86_400_000;

/** The key that an installation begins with. Nobody has issued it. */
const BOOTSTRAP_LABEL = "bootstrap";
/** The days in which a key expires soon. The list of keys has a filter for the same. */
export const EXPIRY_DAYS = 7;
const USABLE = "active,retiring,staged";

/** A page and what is not read of it: only the total matters. */
const COUNT = { limit: 1 };

export interface BackendState extends Backend {
  /** How many models it has, and how many of these are in memory. */
  present: number;
  loaded: number;
}

export const backendsQuery = queryOptions({
  queryKey: ["models", "backends"],
  queryFn: async ({ signal }) => {
    const { backends, models } = await unwrap(client.GET("/models", { signal }));
    const rows = backends.map((backend): BackendState => {
      const own = models.flatMap((model) =>
        model.backends.filter(({ url, present }) => url === backend.url && present === true),
      );
      return { ...backend, present: own.length, loaded: own.filter((each) => each.loaded).length };
    });
    return { rows, models: models.length };
  },
  refetchInterval: INTERVAL,
});

/** The parts of the server that do not work, and why it is not ready. */
export const readyQuery = queryOptions({
  queryKey: ["overview", "ready"],
  queryFn: async ({ signal }) => {
    try {
      const { degraded } = await unwrap(client.GET("/readyz", { signal }));
      return { isReady: true, degraded, detail: "" };
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 503) throw error;
      return { isReady: false, degraded: [], detail: error.detail };
    }
  },
  refetchInterval: INTERVAL,
});

/** The usage of a UTC day by user. */
export function dayQuery(now: number, daysAgo: number) {
  const dayOf = (at: number) => new Date(at).toISOString().slice(0, 10);
  const from = dayOf(now - daysAgo * DAY);
  const query = { from, to: dayOf(now - (daysAgo - 1) * DAY), group_by: "user" };
  return queryOptions({
    queryKey: ["usage", "overview", query],
    queryFn: async ({ signal }) => {
      const { rows } = await unwrapPage(client.GET("/usage", { params: { query }, signal }));
      return rows.map((row) => ({ ...row, tokens: tokensOf(row) })).sort(byTokens);
    },
    refetchInterval: INTERVAL,
  });
}

/** The latest refusals and sign-in failures. */
export const failuresQuery = queryOptions({
  queryKey: ["audit", "overview"],
  queryFn: async ({ signal }) => {
    const query = { result: "failure", limit: 8 } as const;
    return { rows: await unwrap(client.GET("/audit", { params: { query }, signal })) };
  },
  refetchInterval: INTERVAL,
});

/** How many keys expire soon, and how many were never used. */
export function keysQuery(now: number) {
  // By the hour, so that the query is the same while the page is open.
  const hour = 3_600_000;
  const expires_before = new Date(Math.floor(now / hour) * hour + EXPIRY_DAYS * DAY).toISOString();
  return queryOptions({
    queryKey: ["keys", "overview", expires_before],
    queryFn: async ({ signal }) => {
      const count = async (filter: { expires_before: string } | { never_used: boolean }) => {
        const query = { ...COUNT, state: USABLE, ...filter };
        return (await unwrapPage(client.GET("/credentials", { params: { query }, signal }))).total;
      };
      const [expiring, unused] = await Promise.all([
        count({ expires_before }),
        count({ never_used: true }),
      ]);
      return { expiring, unused };
    },
    refetchInterval: INTERVAL,
  });
}

/** What an installation has done of its first steps. */
export const stepsQuery = queryOptions({
  queryKey: ["overview", "steps"],
  queryFn: async ({ signal }) => {
    const [users, keys, usage] = await Promise.all([
      unwrapPage(client.GET("/users", { params: { query: COUNT }, signal })),
      unwrapPage(client.GET("/credentials", { params: { query: { limit: 2 } }, signal })),
      unwrap(client.GET("/usage", { signal })),
    ]);
    const request = (usage[0]?.requests ?? 0) > 0;
    return {
      user: users.total > 1,
      key: keys.rows.some(({ label }) => label !== BOOTSTRAP_LABEL),
      // Every backend is asked for its models, which takes seconds if one is away.
      model: request || (await hasModel(signal)),
      request,
    };
  },
});

async function hasModel(signal: AbortSignal): Promise<boolean> {
  const { models } = await unwrap(client.GET("/models", { signal }));
  return models.some(({ backends }) => backends.some(({ present }) => present === true));
}

function tokensOf({ prompt_tokens, completion_tokens }: Totals): number {
  return prompt_tokens + completion_tokens;
}

function byTokens(one: { tokens: number }, other: { tokens: number }): number {
  return other.tokens - one.tokens;
}
