import { useQuery } from "@tanstack/react-query";
import { ScrollText } from "lucide-react";
import type { Directory } from "@/api/names";
import { Dialog } from "@/components/Dialog";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Skeleton } from "@/components/Skeleton";
import { EventChange } from "@/features/audit/EventChange";
import { EventFacts } from "@/features/audit/EventFacts";
import { EventLinks } from "@/features/audit/EventLinks";
import { eventName } from "@/features/audit/events";
import { type AuditEvent, eventQuery } from "@/features/audit/queries";
import type { ChangeSearch } from "@/features/audit/search";
import { t } from "@/features/audit/text";

interface Props {
  id: number;
  /** The event, if the list has it. */
  known: AuditEvent | undefined;
  directory: Directory;
  onSearch: ChangeSearch;
  onClose: () => void;
}

/** All of one event, with the way to the events around it. */
export function EventDialog({ id, known, directory, onSearch, onClose }: Props) {
  const query = useQuery({ ...eventQuery(id), enabled: known === undefined });
  const event = known ?? query.data;
  const title = event ? eventName(event.event_type) : t("detail.event", { id });
  return (
    <Dialog title={title} size="lg" onClose={onClose}>
      {event === undefined && query.error === null && (
        <Skeleton label={t("detail.loading")} lines={6} />
      )}
      <ErrorNotice
        error={event === undefined ? query.error : null}
        onRetry={() => void query.refetch()}
        what={t("detail.what")}
      />
      {event === null && (
        <EmptyState icon={ScrollText} title={t("detail.missing", { id })}>
          {t("detail.missingDetail")}
        </EmptyState>
      )}
      {event && (
        <>
          <EventFacts event={event} directory={directory} />
          <EventChange event={event} />
          <EventLinks event={event} directory={directory} onSearch={onSearch} />
        </>
      )}
    </Dialog>
  );
}
