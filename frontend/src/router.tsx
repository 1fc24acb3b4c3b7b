import { QueryClient } from "@tanstack/react-query";
import { createRouter, type RouterHistory } from "@tanstack/react-router";
import { ApiError } from "@/api/problem";
import type { PageId } from "@/lib/pages";
import { routeTree } from "@/routeTree.gen";

/** How long data counts as fresh, in milliseconds: enough for one page view, not for the next. */
const FRESH_TIME = 5_000;
const MAX_RETRIES = 2;

export function createAppQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: FRESH_TIME,
        // The server may run on this machine, which works without a network.
        networkMode: "always",
        retry: (failures, error) => failures < MAX_RETRIES && isTransient(error),
      },
      mutations: { networkMode: "always", retry: false },
    },
  });
}

export function createAppRouter(queryClient: QueryClient, history?: RouterHistory) {
  return createRouter({
    routeTree,
    basepath: "/ui",
    context: { queryClient },
    defaultPreload: "intent",
    // Queries know when their data is stale.
    defaultPreloadStaleTime: 0,
    scrollRestoration: true,
    // What `validateSearch` leaves out does not reach a page.
    search: { strict: true },
    ...(history === undefined ? {} : { history }),
  });
}

/** A server that says when to come back is not asked before; the page shows the countdown. */
function isTransient(error: unknown): boolean {
  if (!(error instanceof ApiError) || error.retryAt !== undefined) return false;
  return error.status === 0 || error.status >= 502;
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }

  interface StaticDataRouteOption {
    /** Which page of the navigation the route is. Decides who may open it. */
    page?: PageId;
  }
}
