import type { Totals, UsageRow } from "@/features/usage/queries";
import type { ColumnId, View } from "@/features/usage/search";

/** The models that have a colour of their own. All others share the last colour. */
const MAX_COLOURS = 5;

/** One row of the table. */
export interface Group extends Totals {
  /** Unique in its view. */
  id: string;
  user?: number | undefined;
  /** Null: sessions. */
  key?: number | null | undefined;
  model?: string | undefined;
  /** The tokens by model. */
  byModel: Map<string, number>;
}

export const NOTHING: Totals = {
  requests: 0,
  failed: 0,
  prompt_tokens: 0,
  cached_prompt_tokens: 0,
  completion_tokens: 0,
  estimated: 0,
};

export function tokensOf({ prompt_tokens, completion_tokens }: Totals): number {
  return prompt_tokens + completion_tokens;
}

export function sumOf(rows: readonly Totals[]): Totals {
  return rows.reduce(add, NOTHING);
}

export function countUsers(rows: readonly UsageRow[]): number {
  return new Set(rows.map((row) => row.user_id)).size;
}

/** Adds up rows by what the table shows. */
export function groupsOf(rows: readonly UsageRow[], view: View): Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const own = partOf(row, view);
    const id = Object.values(own).join(" ");
    const group = groups.get(id) ?? { ...NOTHING, ...own, id, byModel: new Map() };
    const { byModel } = group;
    const model = row.model ?? "";
    byModel.set(model, (byModel.get(model) ?? 0) + tokensOf(row));
    groups.set(id, Object.assign(group, add(group, row)));
  }
  return [...groups.values()];
}

/** The models of these rows, the most used ones first; only these have a colour. */
export function colouredModels(rows: readonly UsageRow[]): string[] {
  return groupsOf(rows, "model")
    .sort((one, other) => tokensOf(other) - tokensOf(one))
    .flatMap(({ model }) => model ?? [])
    .slice(0, MAX_COLOURS);
}

/** The tokens of each coloured model and, last, of all others together. */
export function partsOf(byModel: ReadonlyMap<string, number>, models: readonly string[]): number[] {
  const own = models.map((model) => byModel.get(model) ?? 0);
  const all = [...byModel.values()].reduce((sum, tokens) => sum + tokens, 0);
  return [...own, all - own.reduce((sum, tokens) => sum + tokens, 0)];
}

/** Sorts by name, as plain text: a collator takes seconds for ten thousand names. */
export function sortByName(groups: readonly Group[], nameOf: (group: Group) => string): Group[] {
  return groups
    .map((group) => ({ group, name: nameOf(group).toLowerCase() }))
    .sort((one, other) => (one.name < other.name ? -1 : Number(one.name > other.name)))
    .map(({ group }) => group);
}

/** Sorts groups that are in the order of their names, which equal numbers keep. */
export function sortGroups(
  byName: readonly Group[],
  { by, isDescending }: { by: ColumnId; isDescending: boolean },
): readonly Group[] {
  if (by === "name") return isDescending ? byName.toReversed() : byName;
  const sign = isDescending ? -1 : 1;
  const numberOf = VALUES[by];
  return byName.toSorted((one, other) => sign * (numberOf(one) - numberOf(other)));
}

export const VALUES: Record<Exclude<ColumnId, "name">, (totals: Totals) => number> = {
  tokens: tokensOf,
  prompt: (totals) => totals.prompt_tokens,
  completion: (totals) => totals.completion_tokens,
  requests: (totals) => totals.requests,
  failed: (totals) => totals.failed,
};

function partOf(row: UsageRow, view: View): Pick<Group, "user" | "key" | "model"> {
  if (view === "user") return { user: row.user_id };
  if (view === "key") return { key: row.credential_id ?? null, user: row.user_id };
  return { model: row.model };
}

function add(one: Totals, other: Totals): Totals {
  return {
    requests: one.requests + other.requests,
    failed: one.failed + other.failed,
    prompt_tokens: one.prompt_tokens + other.prompt_tokens,
    cached_prompt_tokens: one.cached_prompt_tokens + other.cached_prompt_tokens,
    completion_tokens: one.completion_tokens + other.completion_tokens,
    estimated: one.estimated + other.estimated,
  };
}
