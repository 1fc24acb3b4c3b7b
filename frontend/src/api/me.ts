import { queryOptions, useSuspenseQuery } from "@tanstack/react-query";
import { client, unwrap } from "@/api/client";
import type { components } from "@/api/schema";

export type Profile = components["schemas"]["Profile"];
export type LimitStates = components["schemas"]["LimitStates"];

/** The signed-in user. The layout loads it before any page, so that pages need not wait for it. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => unwrap(client.GET("/me", { signal })),
  staleTime: 60_000,
});

/** The signed-in user, on pages below the layout. */
export function useProfile(): Profile {
  return useSuspenseQuery(meQuery).data;
}

/** What is left of each limit of the signed-in user. */
export const limitsQuery = queryOptions({
  queryKey: ["me", "limits"],
  queryFn: async ({ signal }) => {
    const own = await unwrap(client.GET("/me/usage", { params: { query: { limit: 1 } }, signal }));
    return own.limits.user;
  },
  refetchInterval: 30_000,
});

export function isAdmin(profile: Profile): boolean {
  return profile.roles.includes("admin");
}
