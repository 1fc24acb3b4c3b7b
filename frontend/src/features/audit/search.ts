import { compact, oneOf, positive, text } from "@/lib/search";

export const GROUPS = ["access", "sign_in", "users", "keys", "models", "system"] as const;
export const RESULTS = ["success", "failure"] as const;

export const MAX_LIMIT = 500;
export const DEFAULT_LIMIT = 50;

/** The part of the page that is in the URL. */
export interface AuditSearch {
  /** A part of the type of the event. */
  event?: string;
  limit?: number;
  group?: (typeof GROUPS)[number];
  result?: (typeof RESULTS)[number];
  /** As events name it, such as `user:1`. */
  actor?: string;
  /** The user and the key that the event is about. */
  user?: number;
  key?: number;
  target?: string;
  request?: string;
  /** A UTC date, or a time in RFC 3339. */
  since?: string;
  until?: string;
  /** Machine traffic is left out: keys, the operator and Paddock itself. */
  people?: true;
  /** Events before this one. */
  before?: number;
  /** The event whose details are shown. */
  id?: number;
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type AuditChange = { [Key in keyof AuditSearch]: AuditSearch[Key] | undefined };
export type ChangeSearch = (change: AuditChange, options?: { replace: boolean }) => void;

export function readSearch(search: Record<string, unknown>): AuditSearch {
  return compact({
    event: text(search.event),
    limit: positive(Math.min(Number(search.limit), MAX_LIMIT)),
    group: oneOf(GROUPS, search.group),
    result: oneOf(RESULTS, search.result),
    actor: text(search.actor),
    user: positive(search.user),
    key: positive(search.key),
    target: text(search.target),
    request: text(search.request),
    since: time(search.since),
    until: time(search.until),
    people: search.people === true ? (true as const) : undefined,
    before: positive(search.before),
    id: positive(search.id),
  });
}

/** What every filter is without a value. */
export const NO_FILTER = {
  event: undefined,
  group: undefined,
  result: undefined,
  actor: undefined,
  user: undefined,
  key: undefined,
  target: undefined,
  request: undefined,
  since: undefined,
  until: undefined,
  people: undefined,
  before: undefined,
} satisfies AuditChange;

/** The filters that have a field behind “More filters”. */
const MORE = ["result", "actor", "user", "key", "target", "request", "since", "until"] as const;

export function countMore(search: AuditSearch): number {
  return MORE.filter((name) => search[name] !== undefined).length;
}

export function isFiltered(search: AuditSearch): boolean {
  return Object.keys(NO_FILTER).some((name) => search[name as keyof AuditSearch] !== undefined);
}

function time(value: unknown): string | undefined {
  const isTime =
    typeof value === "string" && /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(value);
  return isTime && !Number.isNaN(Date.parse(value)) ? value : undefined;
}
