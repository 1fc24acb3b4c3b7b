import { compact, oneOf, positive, text } from "@/lib/search";

export const RANGES = ["today", "yesterday", "7d", "30d", "custom"] as const;
export const VIEWS = ["user", "key", "model"] as const;
export const COLUMNS = ["name", "tokens", "prompt", "completion", "requests", "failed"] as const;

export type Range = (typeof RANGES)[number];
export type View = (typeof VIEWS)[number];
export type ColumnId = (typeof COLUMNS)[number];

const SORTS = COLUMNS.flatMap((column) => [column, `-${column}`] as const);

/** The part of the page that is in the URL. */
export interface UsageSearch {
  /** Absent: 7 days. */
  range?: Range;
  /** The first and the last day of the range `custom`, as UTC dates. */
  from?: string;
  through?: string;
  /** What the rows of the table are. Absent: users. */
  by?: View;
  /** Only this user, this key, this model. */
  user?: number;
  key?: number;
  model?: string;
  /** Absent: most tokens first. */
  sort?: (typeof SORTS)[number];
  page?: number;
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type ChangeSearch = (
  change: { [Key in keyof UsageSearch]: UsageSearch[Key] | undefined },
  options?: { replace: boolean },
) => void;

export function readSearch(search: Record<string, unknown>): UsageSearch {
  return compact({
    range: oneOf(RANGES, search.range),
    from: date(search.from),
    through: date(search.through),
    by: oneOf(VIEWS, search.by),
    user: positive(search.user),
    key: positive(search.key),
    model: text(search.model),
    sort: oneOf(SORTS, search.sort),
    page: positive(search.page),
  });
}

/** The sort by a column of the table. */
export function toSort(by: ColumnId, isDescending: boolean): UsageSearch["sort"] {
  return isDescending ? `-${by}` : by;
}

export function readSort(sort: UsageSearch["sort"] = "-tokens"): {
  by: ColumnId;
  isDescending: boolean;
} {
  const isDescending = sort.startsWith("-");
  const by = oneOf(COLUMNS, isDescending ? sort.slice(1) : sort) ?? "tokens";
  return { by, isDescending };
}

function date(value: unknown): string | undefined {
  const isDate = typeof value === "string" && /^\d{4}-\d{2}-\d{2}$/.test(value);
  return isDate && !Number.isNaN(Date.parse(value)) ? value : undefined;
}
