import { queryOptions, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { client, unwrapPage } from "@/api/client";
import { isAdmin, useProfile } from "@/api/me";
import type { components } from "@/api/schema";

/** The most rows that the API answers at once, and the most that names are loaded of. */
const USERS_LIMIT = 200;
const KEYS_LIMIT = 1000;
const MAX_USERS = 1000;
/** Names change rarely, and an out-of-date one misleads nobody. In milliseconds. */
const FRESH_TIME = 60_000;

type KeyName = Pick<components["schemas"]["Credential"], "label" | "user_id">;

/** What ids are called on pages that show usage or events. */
export interface Directory {
  users: ReadonlyMap<number, string>;
  keys: ReadonlyMap<number, KeyName>;
  /** Whether every user is in `users`. An id that is not is then that of a deleted user. */
  hasAllUsers: boolean;
  /** Whether the names are still to come. */
  isLoading: boolean;
}

const usersQuery = queryOptions({
  queryKey: ["users", "names"],
  queryFn: async ({ signal }) => {
    const names = new Map<number, string>();
    for (let offset = 0; offset < MAX_USERS; offset += USERS_LIMIT) {
      const query = { limit: USERS_LIMIT, offset };
      const { rows, total } = await unwrapPage(client.GET("/users", { params: { query }, signal }));
      for (const { id, email } of rows) names.set(id, email);
      if (offset + rows.length >= total) return { names, isAll: true };
    }
    return { names, isAll: false };
  },
  staleTime: FRESH_TIME,
});

const keysQuery = queryOptions({
  queryKey: ["keys", "names"],
  queryFn: async ({ signal }) => {
    const query = { limit: KEYS_LIMIT };
    const { rows } = await unwrapPage(client.GET("/credentials", { params: { query }, signal }));
    return new Map<number, KeyName>(
      rows.map(({ id, label, user_id }) => [id, { label, user_id }] as const),
    );
  },
  staleTime: FRESH_TIME,
});

/** The names of the first thousand users and keys; without the right to see users, the own one. */
export function useDirectory(): Directory {
  const profile = useProfile();
  const users = useQuery({ ...usersQuery, enabled: isAdmin(profile) });
  const keys = useQuery(keysQuery);
  return useMemo(
    () => ({
      users: users.data?.names ?? new Map([[profile.id, profile.email]]),
      keys: keys.data ?? new Map(),
      hasAllUsers: users.data?.isAll ?? false,
      isLoading: users.isLoading || keys.isLoading,
    }),
    [users.data, keys.data, profile, users.isLoading, keys.isLoading],
  );
}
