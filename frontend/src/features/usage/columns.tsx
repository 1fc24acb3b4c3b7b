import type { Column } from "@/components/Table";
import type { Names } from "@/features/usage/names";
import { ShareBar } from "@/features/usage/ShareBar";
import type { View } from "@/features/usage/search";
import { t } from "@/features/usage/text";
import { type Group, partsOf, tokensOf, VALUES } from "@/features/usage/totals";
import { exact, percent } from "@/lib/numbers";

interface Props {
  view: View;
  names: Names;
  models: readonly string[];
  /** The tokens of the largest row, and of all rows. */
  full: number;
  total: number;
  /** Narrows the page to a row. */
  onOpen: ((group: Group) => void) | undefined;
}

export function columnsOf({ view, names, models, full, total, onOpen }: Props): Column<Group>[] {
  return [
    {
      id: "name",
      header: t(`view.${view}`),
      isSortable: true,
      cell: (group) => (
        <div className="min-w-0">
          {onOpen === undefined || group.key === null ? (
            names.first(group)
          ) : (
            <button
              type="button"
              title={t("table.open", { name: names.full(group) })}
              onClick={() => onOpen(group)}
              className="min-h-6 rounded text-start underline-offset-2 wrap-anywhere hover:text-accent-text hover:underline"
            >
              {names.first(group)}
            </button>
          )}
          {names.second(group) !== "" && (
            <p className="text-muted text-sm">{names.second(group)}</p>
          )}
        </div>
      ),
    },
    {
      id: "share",
      header: t("column.share"),
      cell: (group) => (
        <div className="flex w-full min-w-32 items-center gap-2">
          <ShareBar parts={partsOf(group.byModel, models)} full={full} />
          <span className="w-12 shrink-0 text-end text-muted text-sm tabular-nums">
            {percent(tokensOf(group), total)}
          </span>
        </div>
      ),
    },
    ...NUMBERS,
  ];
}

const NUMBERS = (["tokens", "prompt", "completion", "requests", "failed"] as const).map(
  (id): Column<Group> => ({
    id,
    header: t(`column.${id}`),
    align: "end",
    isSortable: true,
    cell: (group) => {
      const value = VALUES[id](group);
      return <span className={value === 0 ? "text-muted" : undefined}>{exact(value)}</span>;
    },
  }),
);
