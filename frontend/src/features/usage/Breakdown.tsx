import { ChartColumn, Download } from "lucide-react";
import { useMemo } from "react";
import { type Directory, useDirectory } from "@/api/names";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { Pagination } from "@/components/Pagination";
import { Panel } from "@/components/Panel";
import { Segments } from "@/components/Segments";
import { Table } from "@/components/Table";
import { columnsOf } from "@/features/usage/columns";
import { saveTable } from "@/features/usage/export";
import { Legend } from "@/features/usage/Legend";
import { namesOf } from "@/features/usage/names";
import type { Period } from "@/features/usage/period";
import type { UsageRow } from "@/features/usage/queries";
import {
  type ChangeSearch,
  COLUMNS,
  readSort,
  toSort,
  type UsageSearch,
  type View,
} from "@/features/usage/search";
import { t } from "@/features/usage/text";
import {
  type Group,
  groupsOf,
  sortByName,
  sortGroups,
  sumOf,
  tokensOf,
} from "@/features/usage/totals";
import { oneOf } from "@/lib/search";

interface Props {
  query: {
    data: UsageRow[] | undefined;
    error: unknown;
    isFetching: boolean;
    refetch: () => unknown;
  };
  search: UsageSearch;
  onSearch: ChangeSearch;
  view: View;
  views: readonly View[];
  period: Period;
  /** The names to sort by. */
  directory: Directory;
  /** Whether it is the page of one user. */
  isOneUser: boolean;
  /** The models that have a colour. */
  models: readonly string[];
}

const PAGE_SIZE = 50;

/** Who or what used how much: each row with its share, sorted, and as CSV. */
export function Breakdown(props: Props) {
  const { query, search, onSearch, view, views, period, directory, isOneUser, models } = props;
  const { page = 1 } = search;
  const sort = readSort(search.sort);
  const unsorted = useMemo(() => groupsOf(query.data ?? [], view), [query.data, view]);
  // Only once for all columns: it takes longer than a sort by number.
  const byName = useMemo(
    () => sortByName(unsorted, namesOf(view, directory, isOneUser).sortable),
    [unsorted, view, directory, isOneUser],
  );
  const groups = useMemo(() => sortGroups(byName, readSort(search.sort)), [byName, search.sort]);
  const { totals, full, hasOthers } = useMemo(
    () => ({
      totals: sumOf(unsorted),
      full: unsorted.reduce((most, group) => Math.max(most, tokensOf(group)), 0),
      hasOthers: unsorted.some((group) => hasOther(group, models)),
    }),
    [unsorted, models],
  );
  const shown = groups.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE);
  const shownNames = useDirectory({
    users: shown.map((group) => group.user),
    keys: shown.map((group) => group.key),
  });
  const names = namesOf(view, shownNames, isOneUser);
  // With their names, so that no row changes its height, and nothing below them moves.
  const rows = query.data && !shownNames.isLoading ? shown : undefined;
  const open = (group: Group) =>
    onSearch({ ...narrowed(group, view), page: undefined, sort: undefined });
  return (
    <Panel
      title={t("table.title")}
      isFlush
      actions={
        <Button
          size="sm"
          icon={Download}
          disabled={groups.length === 0}
          onClick={() => saveTable({ groups, view, names, period })}
        >
          {t("table.csv")}
        </Button>
      }
    >
      <div className="flex flex-wrap items-center justify-between gap-x-6 gap-y-2 px-4 pb-2">
        <Segments
          label={t("table.rows")}
          value={view}
          options={views.map((value) => ({ value, label: t(`view.${value}`) }))}
          onChange={(by) =>
            onSearch({ by: by === views[0] ? undefined : by, page: undefined }, { replace: true })
          }
        />
        {groups.length > 0 && <Legend models={models} hasOthers={hasOthers} />}
      </div>
      <Table
        what={t(`what.${view}`)}
        query={{ ...query, data: rows && { rows } }}
        columns={columnsOf({
          view,
          names,
          models,
          full,
          total: tokensOf(totals),
          onOpen: isOneUser ? undefined : open,
        })}
        rowKey={(group) => group.id}
        sort={sort}
        onSort={({ by }) => {
          const column = oneOf(COLUMNS, by) ?? "tokens";
          // The largest number comes first, and the first letter.
          const isFirst = column !== sort.by;
          const isDescending = isFirst ? column !== "name" : !sort.isDescending;
          onSearch({ sort: toSort(column, isDescending), page: undefined }, { replace: true });
        }}
        stackBelow="lg"
        isFixed
        empty={
          <EmptyState icon={ChartColumn} title={t("empty.title")}>
            {t("empty.detail")}
          </EmptyState>
        }
      />
      {rows !== undefined && totals.estimated > 0 && (
        <p className="border-line border-t px-4 py-2 text-muted text-sm">
          {t("table.estimated", { count: totals.estimated })}
        </p>
      )}
      {rows !== undefined && groups.length > PAGE_SIZE && (
        <Pagination
          what={t(`what.${view}`)}
          page={page}
          pageSize={PAGE_SIZE}
          total={groups.length}
          onPage={(to) => onSearch({ page: to === 1 ? undefined : to })}
        />
      )}
    </Panel>
  );
}

function hasOther(group: Group, models: readonly string[]): boolean {
  return [...group.byModel.keys()].some((model) => !models.includes(model));
}

/** The search that shows one row in more detail: a user by key, a key and a model by what is left. */
function narrowed(group: Group, view: View): Partial<UsageSearch> {
  if (view === "user") return { ...(group.user !== undefined && { user: group.user }), by: "key" };
  if (view === "model")
    return { ...(group.model !== undefined && { model: group.model }), by: "user" };
  return { ...(typeof group.key === "number" && { key: group.key }), by: "model" };
}
