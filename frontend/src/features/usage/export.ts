import type { Names } from "@/features/usage/names";
import { lastDay, type Period } from "@/features/usage/period";
import type { View } from "@/features/usage/search";
import type { Group } from "@/features/usage/totals";
import { toCsv } from "@/lib/csv";
import { saveFile } from "@/lib/download";

interface Props {
  groups: readonly Group[];
  view: View;
  names: Names;
  period: Period;
}

/** The columns after those that say what the row is: for programs, so in the words of the API. */
const SUMS = [
  "requests",
  "failed",
  "prompt_tokens",
  "cached_prompt_tokens",
  "completion_tokens",
  "estimated",
] as const;

/** Saves the table as it is shown, on all pages, as CSV. */
export function saveTable({ groups, view, names, period }: Props): void {
  const heads: Record<View, string[]> = {
    user: ["user_id", "user"],
    key: ["credential_id", "key", "user_id", "user"],
    model: ["model"],
  };
  const own: Record<View, (group: Group) => (string | number)[]> = {
    user: (group) => [group.user ?? "", names.first(group)],
    key: (group) => [group.key ?? "", names.first(group), group.user ?? "", names.second(group)],
    model: (group) => [group.model ?? ""],
  };
  const rows = groups.map((group) => [...own[view](group), ...SUMS.map((name) => group[name])]);
  const csv = toCsv([[...heads[view], ...SUMS], ...rows]);
  const name = `paddock-usage-by-${view}-${period.from}-to-${lastDay(period)}.csv`;
  saveFile(new Blob([csv], { type: "text/csv;charset=utf-8" }), name);
}
