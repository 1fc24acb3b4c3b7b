import type { Directory } from "@/api/names";
import { Button } from "@/components/Button";
import type { AuditEvent } from "@/features/audit/queries";
import { type AuditChange, type ChangeSearch, NO_FILTER } from "@/features/audit/search";
import { t } from "@/features/audit/text";
import { actorOf, subjectOf } from "@/lib/actors";
import { keyName, userName } from "@/lib/names";

interface Props {
  event: AuditEvent;
  directory: Directory;
  onSearch: ChangeSearch;
}

/** In milliseconds. */
const AROUND = 5 * 60_000;

/** Filters that an event suggests. */
export function EventLinks({ event, directory, onSearch }: Props) {
  const show = (filter: AuditChange) => onSearch({ ...NO_FILTER, id: undefined, ...filter });
  const at = Date.parse(event.occurred_at);
  const { user_id: user, credential_id: key, request_id: request } = event;
  const links: { text: string; filter: AuditChange }[] = [
    {
      text: t("detail.sameActor", { name: actorOf(event, directory).name }),
      filter: { actor: event.actor },
    },
  ];
  if (user !== null) {
    const name = subjectOf(event, directory) ?? userName(directory, user);
    links.push({ text: t("detail.sameUser", { name }), filter: { user } });
  }
  if (key !== null) {
    links.push({ text: t("detail.sameKey", { name: keyName(directory, key) }), filter: { key } });
  }
  links.push({ text: t("detail.sameType"), filter: { event: event.event_type } });
  if (request !== null) links.push({ text: t("detail.sameRequest"), filter: { request } });
  links.push({
    text: t("detail.around"),
    filter: {
      since: new Date(at - AROUND).toISOString(),
      until: new Date(at + AROUND).toISOString(),
    },
  });
  return (
    <section aria-label={t("detail.more")} className="flex flex-col gap-1.5">
      <h3 className="font-medium text-sm">{t("detail.more")}</h3>
      <div className="flex flex-wrap gap-2">
        {links.map(({ text, filter }) => (
          <Button key={text} size="sm" isLong onClick={() => show(filter)}>
            {text}
          </Button>
        ))}
      </div>
    </section>
  );
}
