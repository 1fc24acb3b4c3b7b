import type { UseQueryResult } from "@tanstack/react-query";
import type { components } from "@/api/schema";
import { EmptyState } from "@/components/EmptyState";
import { Panel } from "@/components/Panel";
import { type Column, Table } from "@/components/Table";
import { TimeText } from "@/components/TimeText";
import { t } from "@/features/account/text";

type OwnUsage = components["schemas"]["OwnUsage"];
type States = components["schemas"]["LimitStates"];

const NAMES = [
  "requests_per_minute",
  "tokens_per_minute",
  "tokens_per_day",
  "tokens_per_month",
  "max_concurrent",
] as const satisfies (keyof States)[];

interface Row {
  name: (typeof NAMES)[number];
  limit: number | undefined;
  left: number | undefined;
  /** A limit of concurrent requests has no time. */
  resetsAt: string | undefined;
}

/** What is left of each limit, and when it is full again. */
export function Limits({ usage }: { usage: UseQueryResult<OwnUsage> }) {
  const { data, error, isFetching, refetch } = usage;
  const rows = data && { rows: NAMES.map((name) => toRow(name, data.limits.user)) };
  return (
    <Panel title={t("limits.title")} description={t("limits.description")} isFlush>
      <Table
        what={t("limits.what")}
        query={{ data: rows, error, isFetching, refetch }}
        columns={COLUMNS}
        rowKey={(row) => row.name}
        // A time that passes does not move the other columns.
        isFixed
        empty={<EmptyState title={t("limits.empty")} />}
      />
    </Panel>
  );
}

function toRow(name: Row["name"], states: States): Row {
  const state = states[name];
  return {
    name,
    limit: state?.limit,
    left: state?.left,
    resetsAt: state !== null && "resets_at" in state ? state.resets_at : undefined,
  };
}

/** A thin bar in our colours. */
const METER =
  "h-1.5 w-28 appearance-none overflow-hidden rounded-full bg-subtle [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-subtle [&::-webkit-progress-value]:rounded-full [&::-webkit-progress-value]:bg-accent";

const COLUMNS: Column<Row>[] = [
  {
    id: "limit",
    header: t("limits.column.limit"),
    cell: ({ name }) => t(`limits.name.${name}`),
  },
  {
    id: "left",
    width: "w-[36%]",
    header: t("limits.column.left"),
    cell: ({ name, limit, left }) => {
      if (limit === undefined || left === undefined)
        return <span className="text-muted">{t("limits.none")}</span>;
      return (
        <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <progress
            aria-label={t(`limits.name.${name}`)}
            max={Math.max(limit, 1)}
            value={left}
            className={METER}
          />
          <span className="whitespace-nowrap tabular-nums">{t("limits.of", { left, limit })}</span>
        </span>
      );
    },
  },
  {
    id: "resets",
    width: "w-[32%]",
    header: t("limits.column.resets"),
    cell: ({ resetsAt, left, limit }) => {
      if (resetsAt === undefined) return null;
      if (left === limit) return t("limits.now");
      return (
        <span className="*:whitespace-normal">
          <TimeText time={resetsAt} />
        </span>
      );
    },
  },
];
