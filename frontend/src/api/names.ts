import { keepPreviousData, queryOptions, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { client, unwrapPage } from "@/api/client";
import { isAdmin, useProfile } from "@/api/me";
import type { components } from "@/api/schema";

/** The most rows that the API answers at once, and the most that names are loaded of. */
const USERS_LIMIT = 200;
const KEYS_LIMIT = 1000;
const MAX_USERS = 1000;
/** The most ids that one request may name. */
const MAX_IDS = 200;
/** Names change rarely, and an out-of-date one misleads nobody. In milliseconds. */
const FRESH_TIME = 60_000;

type KeyName = Pick<components["schemas"]["Credential"], "label" | "user_id">;

/** What ids are called on pages that show usage or events. */
export interface Directory {
  users: ReadonlyMap<number, string>;
  keys: ReadonlyMap<number, KeyName>;
  /** Whether the server was asked for this user. One that is not in `users` is then deleted. */
  isKnown: (user: number) => boolean;
  /** Whether `users` has every user. */
  isWhole: boolean;
  /** Whether the names are still to come. */
  isLoading: boolean;
}

/** The ids that a page shows. */
export interface ShownIds {
  users?: Iterable<number | null | undefined>;
  keys?: Iterable<number | null | undefined>;
}

interface Names<Name> {
  names: ReadonlyMap<number, Name>;
  /** Whether there is no other name. */
  isAll: boolean;
}

const usersQuery = queryOptions({
  queryKey: ["users", "names"],
  queryFn: async ({ signal }): Promise<Names<string>> => {
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
  queryFn: async ({ signal }): Promise<Names<KeyName>> => {
    const query = { limit: KEYS_LIMIT };
    const { rows, total } = await unwrapPage(
      client.GET("/credentials", { params: { query }, signal }),
    );
    return { names: keyNames(rows), isAll: rows.length >= total };
  },
  staleTime: FRESH_TIME,
});

function usersByIdQuery(ids: readonly number[]) {
  const query = { id: ids.join(","), limit: MAX_IDS };
  return queryOptions({
    queryKey: ["users", "names", query.id],
    queryFn: async ({ signal }) => {
      const { rows } = await unwrapPage(client.GET("/users", { params: { query }, signal }));
      return new Map(rows.map(({ id, email }) => [id, email] as const));
    },
    enabled: ids.length > 0,
    placeholderData: keepPreviousData,
    staleTime: FRESH_TIME,
  });
}

function keysByIdQuery(ids: readonly number[]) {
  const query = { id: ids.join(","), limit: MAX_IDS };
  return queryOptions({
    queryKey: ["keys", "names", query.id],
    queryFn: async ({ signal }) => {
      const { rows } = await unwrapPage(client.GET("/credentials", { params: { query }, signal }));
      return keyNames(rows);
    },
    enabled: ids.length > 0,
    placeholderData: keepPreviousData,
    staleTime: FRESH_TIME,
  });
}

/**
 * The names of the first thousand users and keys, and of those that are shown. Without the right to
 * see users, only the own one.
 */
export function useDirectory(shown: ShownIds = {}): Directory {
  const profile = useProfile();
  const users = useQuery({ ...usersQuery, enabled: isAdmin(profile) });
  const keys = useQuery(keysQuery);
  const otherUsers = missing(users.data, shown.users);
  const otherKeys = missing(keys.data, shown.keys);
  const moreUsers = useQuery(usersByIdQuery(otherUsers));
  const moreKeys = useQuery(keysByIdQuery(otherKeys));
  const asked = otherUsers.join();
  const isLoading = [users, keys, moreUsers, moreKeys].some((query) => query.isLoading);
  return useMemo(() => {
    const isWhole = users.data?.isAll ?? false;
    const lookedUp = new Set(moreUsers.data === undefined ? [] : asked.split(",").map(Number));
    return {
      users: merged(users.data?.names ?? new Map([[profile.id, profile.email]]), moreUsers.data),
      keys: merged(keys.data?.names ?? new Map<number, KeyName>(), moreKeys.data),
      isKnown: (user) => isWhole || lookedUp.has(user),
      isWhole,
      isLoading,
    };
  }, [users.data, keys.data, moreUsers.data, moreKeys.data, asked, profile, isLoading]);
}

/** The ids without a name, where there are more names than those that were loaded. */
function missing(loaded: Names<unknown> | undefined, ids: ShownIds["users"]): number[] {
  if (loaded === undefined || loaded.isAll) return [];
  const others = new Set<number>();
  for (const id of ids ?? []) if (id != null && !loaded.names.has(id)) others.add(id);
  return [...others].sort((one, other) => one - other).slice(0, MAX_IDS);
}

function merged<Name>(
  first: ReadonlyMap<number, Name>,
  more: ReadonlyMap<number, Name> | undefined,
): ReadonlyMap<number, Name> {
  return more === undefined ? first : new Map([...first, ...more]);
}

function keyNames(rows: components["schemas"]["Credential"][]): Map<number, KeyName> {
  return new Map(rows.map(({ id, label, user_id }) => [id, { label, user_id }] as const));
}

/** The id of the user with exactly this address; undefined if nobody has it. */
export async function findUser(email: string): Promise<number | undefined> {
  const query = { q: email, limit: USERS_LIMIT };
  const { rows } = await unwrapPage(client.GET("/users", { params: { query } }));
  return rows.find((user) => user.email.toLowerCase() === email.toLowerCase())?.id;
}
