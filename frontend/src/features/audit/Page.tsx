import { useQuery } from "@tanstack/react-query";
import { ScrollText } from "lucide-react";
import { useCallback, useMemo } from "react";
import { type ShownIds, useDirectory } from "@/api/names";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { HeldBack } from "@/components/HeldBack";
import { PageHeader } from "@/components/PageHeader";
import { Panel } from "@/components/Panel";
import { ChainState } from "@/features/audit/ChainState";
import { EventDialog } from "@/features/audit/EventDialog";
import { EventPages } from "@/features/audit/EventPages";
import { EventTable } from "@/features/audit/EventTable";
import { ExportButtons } from "@/features/audit/ExportButtons";
import { Filters } from "@/features/audit/Filters";
import { type AuditEvent, chainQuery, eventsQuery } from "@/features/audit/queries";
import {
  type AuditSearch,
  type ChangeSearch,
  isFiltered,
  NO_FILTER,
} from "@/features/audit/search";
import { t } from "@/features/audit/text";

interface Props {
  search: AuditSearch;
  /** Must not change between renders: the table depends on it. */
  onSearch: ChangeSearch;
}

/** The audit log: what happened, who did it, and why something was refused. */
export function AuditPage({ search, onSearch }: Props) {
  const events = useQuery(eventsQuery(search));
  const chain = useQuery(chainQuery);
  const { data, error, isFetching, refetch } = events;
  const directory = useDirectory(shownIds(data?.rows, search));
  const open = useCallback((id: number) => onSearch({ id }), [onSearch]);
  const hasFilter = isFiltered(search);
  const empty = useMemo(
    () => (
      <EmptyState icon={ScrollText} title={t("empty.title")}>
        <p>{t(hasFilter ? "empty.detail" : "empty.none")}</p>
        {hasFilter && (
          <div className="mt-2">
            <Button size="sm" onClick={() => onSearch({ ...NO_FILTER })}>
              {t("empty.clear")}
            </Button>
          </div>
        )}
      </EmptyState>
    ),
    [hasFilter, onSearch],
  );
  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <ChainState chain={chain} />
      <HeldBack while={chain.isPending}>
        <Panel title={t("list.title")} isFlush actions={<ExportButtons search={search} />}>
          <Filters
            search={search}
            onSearch={onSearch}
            directory={directory}
            isLoading={isFetching}
          />
          <EventTable
            // With their names, so that no row changes its height.
            rows={directory.isLoading ? undefined : data?.rows}
            error={error}
            isFetching={isFetching}
            refetch={refetch}
            directory={directory}
            onOpen={open}
            empty={empty}
          />
          {data !== undefined && !directory.isLoading && (
            <EventPages page={data} search={search} onSearch={onSearch} />
          )}
        </Panel>
      </HeldBack>
      {search.id !== undefined && (
        <EventDialog
          key={search.id}
          id={search.id}
          known={data?.rows.find(({ id }) => id === search.id)}
          directory={directory}
          onSearch={onSearch}
          onClose={() => onSearch({ id: undefined }, { replace: true })}
        />
      )}
    </>
  );
}

/** The users and keys whose names the page needs. */
function shownIds(rows: readonly AuditEvent[] = [], { user, key, actor }: AuditSearch): ShownIds {
  const actors = [...rows.map((row) => row.actor), actor ?? ""];
  return {
    users: [...rows.map((row) => row.user_id), user, ...idsOf("user", actors)],
    keys: [...rows.map((row) => row.credential_id), key, ...idsOf("key", actors)],
  };
}

/** The ids of the actors of a kind, as in `user:1`. */
function idsOf(kind: string, actors: readonly string[]): number[] {
  const ids = actors.map((actor) => (actor.startsWith(`${kind}:`) ? actor.split(":")[1] : ""));
  return ids.flatMap((id) => (id ? [Number(id)] : []));
}
