import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Download } from "lucide-react";
import { useProfile } from "@/api/me";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Pagination } from "@/components/Pagination";
import { Panel } from "@/components/Panel";
import { type Column, Table } from "@/components/Table";
import { TimeText } from "@/components/TimeText";
import { shortName } from "@/features/models/format";
import { PullState } from "@/features/models/PullState";
import {
  isActive,
  PAGE_SIZE,
  type Pull,
  pullsQuery,
  useCancelPull,
  useProgress,
  useStartPull,
} from "@/features/models/queries";
import type { ChangeSearch } from "@/features/models/search";
import { t } from "@/features/models/text";
import { notify } from "@/lib/notify";

interface Props {
  page: number;
  onSearch: ChangeSearch;
}

/** The pulls, which are jobs of the server: those that run, those that wait and those that ended. */
export function PullList({ page, onSearch }: Props) {
  const pulls = useQuery(pullsQuery(page));
  const rows = useProgress(pulls.data?.rows ?? []);
  const cancel = useCancelPull();
  const start = useStartPull();
  const columns: Column<Pull>[] = [
    ...COLUMNS,
    {
      id: "action",
      header: t("pulls.column.action"),
      isHeaderHidden: true,
      align: "end",
      cell: (pull) => {
        const name = shortName(pull.model);
        const target = `${name}, ${t("pulls.job", { job: pull.job })}`;
        if (isActive(pull)) {
          return (
            <Button
              size="sm"
              target={target}
              isBusy={cancel.isPending && cancel.variables === pull.job}
              onClick={() =>
                cancel.mutate(pull.job, {
                  onSuccess: () => notify(t("pulls.cancelled", { model: name })),
                })
              }
            >
              {t("pulls.cancel")}
            </Button>
          );
        }
        if (pull.state === "succeeded") return null;
        return (
          <Button
            size="sm"
            target={target}
            isBusy={start.isPending && start.variables === pull.model}
            onClick={() =>
              start.mutate(pull.model, {
                onSuccess: () => notify(t("pull.started", { model: name })),
              })
            }
          >
            {t("pulls.resume")}
          </Button>
        );
      },
    },
  ];
  return (
    <Panel title={t("pulls.title")} description={t("pulls.description")} isFlush>
      <div className="flex flex-col gap-2 px-4 empty:hidden">
        <ErrorNotice error={cancel.error} />
        <ErrorNotice error={start.error} />
      </div>
      <Table
        what={t("pulls.what")}
        query={{ ...pulls, data: pulls.data && { rows } }}
        columns={columns}
        rowKey={({ job }) => job}
        stackBelow="md"
        empty={
          <EmptyState icon={Download} title={t("pulls.empty.title")}>
            {t("pulls.empty.detail")}
          </EmptyState>
        }
      />
      <Pagination
        what={t("pulls.what")}
        page={page}
        pageSize={PAGE_SIZE}
        total={pulls.data?.total ?? 0}
        onPage={(to) => onSearch({ page: to === 1 ? undefined : to })}
      />
    </Panel>
  );
}

const COLUMNS: Column<Pull>[] = [
  {
    id: "model",
    header: t("pulls.column.model"),
    cell: ({ model }) => <span className="font-medium">{shortName(model)}</span>,
  },
  {
    id: "state",
    header: t("pulls.column.state"),
    cell: (pull) => <PullState pull={pull} />,
  },
  {
    id: "requested",
    header: t("pulls.column.requested"),
    cell: (pull) => <Requested pull={pull} />,
  },
];

function Requested({ pull }: { pull: Pull }) {
  const profile = useProfile();
  return (
    <div className="text-sm">
      <TimeText time={pull.created_at} />
      <p className="text-muted">
        {pull.user_id === profile.id ? (
          t("pulls.you")
        ) : (
          <Link to="/users" search={{ selected: pull.user_id }} className="underline">
            {t("pulls.user", { id: pull.user_id })}
          </Link>
        )}
      </p>
    </div>
  );
}
