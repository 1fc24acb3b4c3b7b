import type { operations } from "@/api/schema";
import { compact, oneOf, positive, text } from "@/lib/search";

type Query = NonNullable<operations["list_credentials"]["parameters"]["query"]>;

export const SCOPES = [
  "chat",
  "generate",
  "embed",
  "models:read",
  "models:write",
  "users:read",
  "users:write",
  "keys:read",
  "keys:write",
  "usage:read",
  "audit:read",
] as const satisfies readonly Query["scope"][];

/** Absent means the keys that work: `active`, `retiring` and `staged`. */
export const STATES = ["active", "retiring", "staged", "expired", "revoked", "all"] as const;
export const EXPIRIES = ["7d", "30d"] as const;
export const USES = ["never", "used"] as const;
export const OWNERSHIPS = ["api", "kubernetes"] as const;
const DIALOGS = ["issue", "rotate", "revoke", "end-old", "clear-override"] as const;
const COLUMNS = [
  "label",
  "owner",
  "models",
  "scopes",
  "state",
  "created_at",
  "last_used_at",
  "expires_at",
] as const;
const SORTS = COLUMNS.flatMap((column) => [column, `-${column}`] as const);

/** The part of the page that is in the URL. */
export interface KeysSearch {
  q?: string;
  /** The id of a user. */
  owner?: number;
  state?: (typeof STATES)[number];
  scope?: (typeof SCOPES)[number];
  model?: string;
  used?: (typeof USES)[number];
  expires?: (typeof EXPIRIES)[number];
  managed?: (typeof OWNERSHIPS)[number];
  sort?: (typeof SORTS)[number];
  page?: number;
  /** The id of the key that a dialog shows. */
  key?: number;
  /** What is done with that key; `issue` without one. */
  dialog?: (typeof DIALOGS)[number];
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type ChangeSearch = (
  change: { [Key in keyof KeysSearch]: KeysSearch[Key] | undefined },
  options?: { replace: boolean },
) => void;

/** What the list of keys is asked for. */
export interface KeyFilter
  extends Pick<
    Query,
    "q" | "user_id" | "state" | "scope" | "model" | "never_used" | "managed_by" | "sort"
  > {
  /** In days. */
  expiresWithin?: number;
  page?: number;
}

const USABLE = "active,retiring,staged";

export function readSearch(search: Record<string, unknown>): KeysSearch {
  return compact({
    q: text(search.q),
    owner: positive(search.owner),
    state: oneOf(STATES, search.state),
    scope: oneOf(SCOPES, search.scope),
    model: text(search.model),
    used: oneOf(USES, search.used),
    expires: oneOf(EXPIRIES, search.expires),
    managed: oneOf(OWNERSHIPS, search.managed),
    sort: oneOf(SORTS, search.sort),
    page: positive(search.page),
    key: positive(search.key),
    dialog: oneOf(DIALOGS, search.dialog),
  });
}

/** The sort by a column of the table. */
export function toSort(by: string, isDescending: boolean): KeysSearch["sort"] {
  return oneOf(SORTS, isDescending ? `-${by}` : by);
}

export function toFilter(search: KeysSearch): KeyFilter {
  const { q, owner, state, scope, model, used, expires, managed, sort, page } = search;
  return compact({
    q,
    user_id: owner,
    state: state === undefined ? USABLE : state === "all" ? undefined : state,
    scope,
    model,
    never_used: used === undefined ? undefined : used === "never",
    expiresWithin: expires === undefined ? undefined : Number.parseInt(expires, 10),
    managed_by: managed,
    sort,
    page,
  });
}

/** The filters that “Clear filters” removes. */
export const NO_FILTER = {
  q: undefined,
  owner: undefined,
  state: undefined,
  scope: undefined,
  model: undefined,
  used: undefined,
  expires: undefined,
  managed: undefined,
  page: undefined,
} satisfies { [Key in keyof KeysSearch]: undefined };

export function isFiltered(search: KeysSearch): boolean {
  return Object.keys(NO_FILTER).some(
    (name) => name !== "page" && search[name as keyof KeysSearch] !== undefined,
  );
}
