import { CircleSlash } from "lucide-react";
import { memo, type ReactNode, useMemo } from "react";
import type { Directory } from "@/api/names";
import { Breakable } from "@/components/Breakable";
import { Button } from "@/components/Button";
import { type Column, Table } from "@/components/Table";
import { agentName } from "@/features/audit/agent";
import { eventName, isFailure } from "@/features/audit/events";
import { factsOf } from "@/features/audit/facts";
import type { AuditEvent } from "@/features/audit/queries";
import { t } from "@/features/audit/text";
import { timeText } from "@/features/audit/times";
import { actorOf } from "@/lib/actors";
import { absoluteTime } from "@/lib/time";

interface Props {
  rows: AuditEvent[] | undefined;
  error: unknown;
  isFetching: boolean;
  refetch: () => unknown;
  directory: Directory;
  onOpen: (id: number) => void;
  empty: ReactNode;
}

/** The events as rows. Up to 500 of them, so that only new data renders them again. */
export const EventTable = memo(function EventTable(props: Props) {
  const { rows, error, isFetching, refetch, directory, onOpen, empty } = props;
  const columns = useMemo(() => columnsOf(directory, onOpen), [directory, onOpen]);
  return (
    <Table
      what={t("list.what")}
      query={{ data: rows && { rows }, error, isFetching, refetch }}
      columns={columns}
      rowKey={(event) => event.id}
      stackBelow="lg"
      isFixed
      empty={empty}
    />
  );
});

function columnsOf(directory: Directory, onOpen: (id: number) => void): Column<AuditEvent>[] {
  return [
    {
      id: "time",
      header: t("column.time"),
      width: "w-46",
      cell: ({ occurred_at }) => (
        <time
          dateTime={occurred_at}
          title={absoluteTime(occurred_at)}
          className="tabular-nums sm:whitespace-nowrap"
        >
          {timeText(occurred_at)}
        </time>
      ),
    },
    { id: "event", header: t("column.event"), cell: (event) => eventCell(event, directory) },
    {
      id: "user",
      header: t("column.user"),
      width: "w-[20%]",
      cell: (event) => actorCell(event, directory),
    },
    {
      id: "ip",
      header: t("column.ip"),
      width: "w-32",
      cell: ({ ip }) =>
        ip === null ? <None /> : <span className="block wrap-break-word">{ip}</span>,
    },
    {
      id: "agent",
      header: t("column.agent"),
      width: "w-[12%]",
      cell: ({ user_agent }) =>
        user_agent === null ? (
          <None />
        ) : (
          <span title={user_agent} className="block max-w-full truncate">
            {agentName(user_agent)}
          </span>
        ),
    },
    {
      id: "details",
      header: t("column.details"),
      width: "w-24",
      isHeaderHidden: true,
      align: "end",
      cell: ({ id }) => (
        <Button
          size="sm"
          variant="quiet"
          target={t("list.target", { id })}
          onClick={() => onOpen(id)}
        >
          {t("list.details")}
        </Button>
      ),
    },
  ];
}

function None() {
  return <span className="text-muted">–</span>;
}

function eventCell(event: AuditEvent, directory: Directory): ReactNode {
  const isBad = isFailure(event.event_type);
  const facts = factsOf(event, directory);
  return (
    <div className="min-w-0">
      <p
        title={event.event_type}
        className={`flex items-center gap-1.5 font-medium ${isBad ? "text-danger-text" : ""}`}
      >
        {isBad && <CircleSlash aria-hidden className="size-3.5 shrink-0" />}
        {eventName(event.event_type)}
      </p>
      {facts.length > 0 && (
        <ul className="flex flex-wrap gap-x-2 text-muted text-sm">
          {facts.map((fact) => (
            <li
              key={fact}
              className="min-w-0 wrap-anywhere not-last:after:ms-2 not-last:after:text-edge not-last:after:content-['·']"
            >
              {fact}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function actorCell(event: AuditEvent, directory: Directory): ReactNode {
  const { name, hint } = actorOf(event, directory);
  return (
    <div title={event.actor} className="wrap-anywhere">
      <p>
        <Breakable>{name}</Breakable>
      </p>
      {hint !== "" && <p className="text-muted text-sm">{hint}</p>}
    </div>
  );
}
