import { ArrowDown, ArrowUp, ChevronsUpDown } from "lucide-react";
import { memo, type ReactNode } from "react";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Skeleton } from "@/components/Skeleton";
import { t } from "@/components/text";
import { useProgressive } from "@/components/use-progressive";

export interface Column<Row> {
  id: string;
  header: string;
  /** For a column of buttons: the head is for screen readers only. */
  isHeaderHidden?: boolean;
  cell: (row: Row) => ReactNode;
  align?: "end";
  /** The class of its width, in a table whose columns keep their widths. */
  width?: string;
  /** Whether the server can sort by this column; its `id` is then the name to sort by. */
  isSortable?: boolean;
}

export interface Sort {
  by: string;
  isDescending: boolean;
}

/** The part of a query result that a table shows. */
interface Query<Row> {
  data: { rows: readonly Row[] } | undefined;
  error: unknown;
  isFetching: boolean;
  refetch: () => unknown;
}

interface Props<Row> {
  /** What the rows are, as in “users”. Unique on its page. */
  what: string;
  query: Query<Row>;
  columns: readonly Column<Row>[];
  rowKey: (row: Row) => string | number;
  /** The place of the rows if there are none, usually an `EmptyState`. */
  empty: ReactNode;
  sort?: Sort | undefined;
  onSort?: (sort: Sort) => void;
  /** The key of the row that the page shows elsewhere. */
  currentKey?: string | number | undefined;
  /** The width of the container below which rows become blocks: 26, 34, 46 or 58 rem. */
  stackBelow?: "xs" | "sm" | "md" | "lg";
  /**
   * Columns have the widths that they name, whatever is in them; one without a width gets the rest.
   * Long tables are then laid out faster, and nothing moves when a text changes.
   */
  isFixed?: boolean;
}

/** A list from the server, sorted there. The table handles first load, empty, error and refetch. */
export function Table<Row>(props: Props<Row>) {
  const { what, query, empty } = props;
  const rows = query.data?.rows;
  const retry = () => void query.refetch();
  return (
    <div className="table-frame" aria-busy={query.isFetching}>
      <div className="h-0.5 overflow-hidden">
        {query.isFetching && rows !== undefined && (
          <div aria-hidden className="h-full w-full motion-safe:animate-pulse bg-accent" />
        )}
      </div>
      {query.error !== null && (
        <div className="px-3 pb-3">
          <ErrorNotice error={query.error} onRetry={retry} what={what} />
        </div>
      )}
      {rows === undefined && query.error === null && (
        <div className="px-4 pb-4">
          <Skeleton label={t("list.loading", { what })} lines={6} />
        </div>
      )}
      {rows?.length === 0 && empty}
      {rows !== undefined && rows.length > 0 && <Grid {...props} rows={rows} />}
    </div>
  );
}

function Grid<Row>(props: Props<Row> & { rows: readonly Row[] }) {
  const {
    what,
    columns,
    rows,
    rowKey,
    sort,
    onSort,
    currentKey,
    stackBelow = "sm",
    isFixed = false,
  } = props;
  const shown = useProgressive(rows, rowKey);
  return (
    <table className={`data-table ${isFixed ? "table-fixed" : ""}`} data-stack={stackBelow}>
      <caption className="sr-only">{what}</caption>
      <thead>
        <tr>
          {columns.map((column) => (
            <th
              key={column.id}
              scope="col"
              data-align={column.align}
              className={column.width}
              aria-sort={sort?.by === column.id ? direction(sort) : undefined}
            >
              {column.isSortable === true && onSort !== undefined ? (
                <SortButton column={column} sort={sort} onSort={onSort} />
              ) : (
                <span className={column.isHeaderHidden ? "sr-only" : undefined}>
                  {column.header}
                </span>
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {shown.map((row) => {
          const key = rowKey(row);
          return <TableRow key={key} row={row} columns={columns} isCurrent={key === currentKey} />;
        })}
      </tbody>
    </table>
  );
}

interface RowProps<Row> {
  row: Row;
  columns: readonly Column<Row>[];
  isCurrent: boolean;
}

/** Rendered again only if the row or the columns changed: a page has up to 500 of them. */
const TableRow = memo(function TableRow<Row>({ row, columns, isCurrent }: RowProps<Row>) {
  return (
    <tr aria-current={isCurrent || undefined}>
      {columns.map((column) => (
        <td
          key={column.id}
          data-align={column.align}
          data-label={column.isHeaderHidden ? undefined : column.header}
        >
          {column.cell(row)}
        </td>
      ))}
    </tr>
  );
}) as <Row>(props: RowProps<Row>) => ReactNode;

interface SortButtonProps<Row> {
  column: Column<Row>;
  sort: Sort | undefined;
  onSort: (sort: Sort) => void;
}

function SortButton<Row>({ column, sort, onSort }: SortButtonProps<Row>) {
  const isActive = sort?.by === column.id;
  const isDescending = isActive && sort.isDescending;
  const Icon = isActive ? (isDescending ? ArrowDown : ArrowUp) : ChevronsUpDown;
  return (
    <button
      type="button"
      title={t("list.sortBy", { column: column.header })}
      onClick={() => onSort({ by: column.id, isDescending: isActive && !isDescending })}
      className="-mx-1 inline-flex min-h-6 items-center gap-1 rounded px-1 font-medium hover:text-text"
    >
      {column.header}
      <Icon aria-hidden className={`size-3.5 ${isActive ? "text-text" : "opacity-50"}`} />
    </button>
  );
}

function direction(sort: Sort): "ascending" | "descending" {
  return sort.isDescending ? "descending" : "ascending";
}
