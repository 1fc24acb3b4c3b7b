import {
  keepPreviousData,
  type QueryClient,
  queryOptions,
  useMutation,
  useQueries,
  useQueryClient,
} from "@tanstack/react-query";
import { client, send, unwrap, unwrapPage } from "@/api/client";
import { BrokenStream } from "@/api/ndjson";
import { ApiError } from "@/api/problem";
import type { components } from "@/api/schema";
import { readEvents } from "@/api/sse";

export type Models = components["schemas"]["Models"];
export type Model = components["schemas"]["Model"];
export type ModelBackend = components["schemas"]["ModelBackend"];
export type Pull = components["schemas"]["Pull"];

export const PAGE_SIZE = 10;

/** The first word of every key, so that one call invalidates all queries of models. */
const KEY = "models";
const LIST = [KEY, "list"];
const PULLS = [KEY, "pulls"];

/** How often the page asks while a pull runs, and else, in milliseconds. */
const BUSY_INTERVAL = 3_000;
const CALM_INTERVAL = 15_000;

/**
 * The pulls that a tab follows by a stream. A browser opens six connections to a server without
 * HTTP/2, for all tabs together. Further pulls are asked for now and then.
 */
const MAX_STREAMS = 2;
const MAX_RECONNECT_DELAY = 10_000;

export const modelsQuery = queryOptions({
  queryKey: LIST,
  queryFn: ({ signal }) => unwrap(client.GET("/models", { signal })),
  refetchInterval: ({ state }) =>
    state.data?.models.some((model) => model.pull !== null) ? BUSY_INTERVAL : CALM_INTERVAL,
});

/** Pulls, newest first. */
export function pullsQuery(page: number) {
  const query = { limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE };
  return queryOptions({
    queryKey: [...PULLS, query],
    queryFn: ({ signal }) => unwrapPage(client.GET("/models/pull", { params: { query }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state }) =>
      state.data?.rows.some(isActive) ? BUSY_INTERVAL : CALM_INTERVAL,
  });
}

export function isActive({ state }: Pull): boolean {
  return state === "queued" || state === "running";
}

/** The same pulls, those that run with their latest progress. */
export function useProgress(pulls: readonly Pull[]): Pull[] {
  const queryClient = useQueryClient();
  const running = pulls.filter(({ state }) => state === "running").slice(-MAX_STREAMS);
  const results = useQueries({
    queries: running.map(({ job }) => progressQuery(queryClient, job)),
  });
  const latest = new Map(results.flatMap(({ data }) => (data ? [[data.job, data]] : [])));
  return pulls.map((pull) => (isActive(pull) ? (latest.get(pull.job) ?? pull) : pull));
}

/** Follows a pull until it ends. Each event becomes the data of the query. */
function progressQuery(queryClient: QueryClient, job: number) {
  const queryKey = [KEY, "progress", job];
  return queryOptions({
    queryKey,
    queryFn: async ({ signal }): Promise<Pull> => {
      const response = await send(`/models/pull/${job}/events`, { signal });
      for await (const { name, data } of readEvents(response)) {
        const pull = JSON.parse(data) as Pull;
        if (name === "end") {
          void refresh(queryClient);
          return pull;
        }
        queryClient.setQueryData(queryKey, pull);
      }
      // The server restarted, for example. The pull itself continues.
      throw new BrokenStream("the stream ended before the pull");
    },
    retry: (_, error) => !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    retryDelay: (failures) => Math.min(1_000 * 2 ** failures, MAX_RECONNECT_DELAY),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });
}

function refresh(queryClient: QueryClient) {
  return Promise.all([LIST, PULLS].map((queryKey) => queryClient.invalidateQueries({ queryKey })));
}

/** `isNew` is false if the model is being pulled already. */
export function useStartPull() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: async (model: string) => {
      const answer = client.POST("/models/pull", { body: { model } });
      const pull = await unwrap(answer);
      return { pull, isNew: (await answer).response.status === 202 };
    },
    onSuccess: () => refresh(queryClient),
  });
}

export function useCancelPull() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (job: number) =>
      unwrap(client.DELETE("/models/pull/{id}", { params: { path: { id: job } } })),
    onSuccess: () => refresh(queryClient),
  });
}

export function useDeleteModel() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (model: string) =>
      unwrap(client.DELETE("/models/{name}", { params: { path: { name: model } } })),
    onSuccess: async () => {
      await refresh(queryClient);
      await queryClient.invalidateQueries({ queryKey: ["own-models"] });
    },
  });
}
