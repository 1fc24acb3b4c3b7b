import type { UseQueryResult } from "@tanstack/react-query";
import type { Profile } from "@/api/me";
import { EmptyState } from "@/components/EmptyState";
import { PageLink } from "@/components/PageLink";
import { Panel } from "@/components/Panel";
import { type Column, Table } from "@/components/Table";
import { t } from "@/features/account/text";
import { canOpen } from "@/lib/pages";

interface Row {
  period: "today" | "month";
  totals: Profile["usage"]["today"];
}

/** What the user has used today and this month. */
export function Usage({ profile }: { profile: UseQueryResult<Profile> }) {
  const { data, error, isFetching, refetch } = profile;
  const rows: Row[] | undefined = data && [
    { period: "today", totals: data.usage.today },
    { period: "month", totals: data.usage.this_month },
  ];
  return (
    <Panel
      title={t("usage.title")}
      description={t("usage.description")}
      isFlush
      actions={
        // Without a role, there is no such page.
        data !== undefined &&
        canOpen(data, "myUsage") && (
          <span className="text-sm">
            <PageLink page="myUsage">{t("usage.more")}</PageLink>
          </span>
        )
      }
    >
      <Table
        what={t("usage.what")}
        query={{ data: rows && { rows }, error, isFetching, refetch }}
        columns={COLUMNS}
        rowKey={(row) => row.period}
        empty={<EmptyState title={t("usage.empty")} />}
      />
    </Panel>
  );
}

const NUMBER = new Intl.NumberFormat("en");

const COLUMNS: Column<Row>[] = [
  { id: "period", header: t("usage.column.period"), cell: (row) => t(`usage.${row.period}`) },
  number("requests", "requests"),
  number("failed", "failed"),
  number("prompt", "prompt_tokens"),
  number("completion", "completion_tokens"),
];

function number(
  id: "requests" | "failed" | "prompt" | "completion",
  name: keyof Row["totals"],
): Column<Row> {
  return {
    id,
    header: t(`usage.column.${id}`),
    align: "end",
    cell: ({ totals }) => NUMBER.format(totals[name]),
  };
}
