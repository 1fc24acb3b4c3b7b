import type { ReactNode } from "react";
import type { Directory } from "@/api/names";
import { CopyButton } from "@/components/CopyButton";
import { timesOf } from "@/features/audit/facts";
import type { AuditEvent } from "@/features/audit/queries";
import { t } from "@/features/audit/text";
import { timeText } from "@/features/audit/times";
import { actorOf, subjectOf } from "@/lib/actors";
import { keyName } from "@/lib/names";
import { absoluteTime } from "@/lib/time";

interface Props {
  event: AuditEvent;
  directory: Directory;
}

/** Who did what, when, to whom, why it failed, and where the row is in the chain. */
export function EventFacts({ event, directory }: Props) {
  const actor = actorOf(event, directory);
  const times = timesOf(event);
  return (
    <dl className="grid grid-cols-[minmax(4.5rem,auto)_minmax(0,1fr)] gap-x-4 gap-y-1.5">
      {event.detail !== null && (
        <Fact name={t("detail.detail")}>
          <strong className="font-medium">{event.detail}</strong>
        </Fact>
      )}
      <Fact name={t("detail.time")}>
        {absoluteTime(event.occurred_at)}
        <Small>{t("detail.utc", { time: event.occurred_at })}</Small>
      </Fact>
      <Fact name={t("detail.actor")}>
        {actor.name}
        <Small>{actor.hint === "" ? event.actor : `${actor.hint} (${event.actor})`}</Small>
      </Fact>
      <Fact name={t("detail.about")}>{subjectOf(event, directory)}</Fact>
      <Fact name={t("detail.key")}>
        {event.credential_id !== null && (
          <>
            {keyName(directory, event.credential_id)}
            <Small>{`key:${event.credential_id}`}</Small>
          </>
        )}
      </Fact>
      <Fact name={t("detail.target")}>{event.target}</Fact>
      {times !== undefined && (
        <Fact name={t("detail.count")}>
          {t("detail.times", { count: times.count, since: timeText(times.since) })}
        </Fact>
      )}
      <Fact name={t("detail.code")}>
        <Code text={event.event_type} />
      </Fact>
      <Fact name={t("detail.ip")}>{event.ip}</Fact>
      <Fact name={t("detail.agent")}>{event.user_agent}</Fact>
      <Fact name={t("detail.request")}>
        {event.request_id !== null && (
          <span className="inline-flex flex-wrap items-center gap-x-1.5">
            <Code text={event.request_id} />
            <CopyButton text={event.request_id} target={t("detail.request")} />
          </span>
        )}
      </Fact>
      <Fact name={t("detail.position")}>{event.id}</Fact>
      <Fact name={t("detail.hash")}>
        <Code text={event.hash} />
      </Fact>
    </dl>
  );
}

/** Nothing without a value. */
function Fact({ name, children }: { name: string; children: ReactNode }) {
  if (children === null || children === undefined || children === false) return null;
  return (
    <>
      <dt className="text-muted text-sm">{name}</dt>
      <dd className="min-w-0 wrap-anywhere">{children}</dd>
    </>
  );
}

function Small({ children }: { children: string }) {
  return <span className="ms-2 text-muted text-sm">{children}</span>;
}

function Code({ text }: { text: string }) {
  return <code className="font-mono text-xs">{text}</code>;
}
