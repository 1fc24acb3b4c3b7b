import { Breakable } from "@/components/Breakable";
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
            <Breakable>{names.first(group)}</Breakable>
          ) : (
            <button
              type="button"
              // The points where a line may break are no spaces.
              aria-label={names.first(group)}
              title={t("table.open", { name: names.full(group) })}
              onClick={() => onOpen(group)}
              className="min-h-6 rounded text-start underline-offset-2 wrap-anywhere hover:text-accent-text hover:underline"
            >
              <Breakable>{names.first(group)}</Breakable>
            </button>
          )}
          {names.second(group) !== "" && (
            <p className="text-muted text-sm">
              <Breakable>{names.second(group)}</Breakable>
            </p>
          )}
        </div>
      ),
    },
    {
      id: "share",
      width: "w-[24%]",
      header: t("column.share"),
      cell: (group) => (
        <div className="flex w-full items-center gap-2">
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

/** Of the numbers, so that the names have the rest. */
const WIDTHS = {
  tokens: "w-26",
  prompt: "w-26",
  completion: "w-30",
  requests: "w-26",
  failed: "w-20",
};

const NUMBERS = (["tokens", "prompt", "completion", "requests", "failed"] as const).map(
  (id): Column<Group> => ({
    id,
    header: t(`column.${id}`),
    align: "end",
    width: WIDTHS[id],
    isSortable: true,
    cell: (group) => {
      const value = VALUES[id](group);
      return <span className={value === 0 ? "text-muted" : undefined}>{exact(value)}</span>;
    },
  }),
);
