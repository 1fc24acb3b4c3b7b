import { useQuery } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { useDirectory } from "@/api/names";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { PageLink } from "@/components/PageLink";
import { Panel } from "@/components/Panel";
import { Skeleton } from "@/components/Skeleton";
import { TimeText } from "@/components/TimeText";
import { type AuditEvent, failuresQuery } from "@/features/overview/queries";
import { t } from "@/features/overview/text";
import { type Actor, actorOf, detailOf } from "@/lib/actors";
import en from "@/locales/en/overview.json";

/** The latest refusals and sign-in failures, each with its reason. */
export function Failures() {
  const { data, error, refetch } = useQuery(failuresQuery);
  const directory = useDirectory({
    users: data?.rows.map((event) => event.user_id) ?? [],
    keys: data?.rows.map((event) => event.credential_id) ?? [],
  });
  return (
    <Panel
      title={t("failures.title")}
      actions={
        <span className="text-sm">
          <PageLink page="audit" search={{ result: "failure" }}>
            {t("failures.more")}
          </PageLink>
        </span>
      }
    >
      <ErrorNotice error={error} onRetry={() => void refetch()} what={t("failures.what")} />
      {data === undefined && error === null && <Skeleton label={t("failures.loading")} lines={5} />}
      {data?.rows.length === 0 && (
        <EmptyState icon={ShieldCheck} title={t("failures.none")}>
          {t("failures.noneDetail")}
        </EmptyState>
      )}
      {data !== undefined && data.rows.length > 0 && (
        <ul className="-my-2 divide-y divide-line">
          {data.rows.map((event) => (
            <Failure key={event.id} event={event} actor={actorOf(event, directory)} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Failure({ event, actor }: { event: AuditEvent; actor: Actor }) {
  const detail = detailOf(event);
  return (
    <li className="flex flex-wrap items-baseline justify-between gap-x-4 py-2">
      <p className="flex min-w-0 flex-[1_1_16rem] flex-wrap gap-x-2 wrap-anywhere">
        <PageLink page="audit" search={{ id: event.id }}>
          {nameOf(event)}
        </PageLink>
        <span>{actor.name}</span>
        <span className="text-muted">{actor.hint}</span>
      </p>
      <span className="text-muted text-sm">
        <TimeText time={event.occurred_at} />
      </span>
      <p className="flex w-full flex-wrap gap-x-2 text-muted text-sm wrap-anywhere">
        {detail !== null && <span>{detail}</span>}
        {event.target !== null && event.target !== actor.name && (
          <span className="font-mono text-xs leading-5">{event.target}</span>
        )}
      </p>
    </li>
  );
}

function nameOf({ event_type: type }: AuditEvent): string {
  const isKnown = (name: string): name is keyof typeof en.failure =>
    Object.hasOwn(en.failure, name);
  return isKnown(type) ? t(`failure.${type}`) : type;
}
