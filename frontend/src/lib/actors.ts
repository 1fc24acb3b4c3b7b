import type { Directory } from "@/api/names";
import type { components } from "@/api/schema";
import { keyName, userName } from "@/lib/names";
import { texts } from "@/lib/text";
import en from "@/locales/en/names.json";

const t = texts("names", en);

type AuditEvent = components["schemas"]["AuditEvent"];

export interface Actor {
  name: string;
  /** What kind of actor it is; "" for a user. */
  hint: string;
}

/** Who did it, from `user:1`, `key:1`, `operator:manager:kind/ns/name`, `system:part`, `anonymous`. */
export function actorOf(event: AuditEvent, directory: Directory): Actor {
  const [kind = "", ...rest] = event.actor.split(":");
  const id = Number(rest[0]);
  if (kind === "user") return { name: userName(directory, id), hint: "" };
  if (kind === "key") {
    const owner = directory.keys.get(id)?.user_id ?? event.user_id;
    return {
      name: keyName(directory, id),
      hint: owner === null ? event.actor : t("actor.key", { owner: userName(directory, owner) }),
    };
  }
  if (kind === "operator") {
    const [manager = "", object = ""] = rest;
    return { name: object, hint: t("actor.operator", { manager }) };
  }
  if (kind === "system") {
    return { name: t("actor.system"), hint: t("actor.systemHint", { part: rest.join(":") }) };
  }
  if (kind !== "anonymous") return { name: event.actor, hint: "" };
  const account = event.target ?? "";
  const name = account.includes("@") ? account : t("actor.anonymous");
  return { name, hint: t("actor.anonymousHint") };
}

/** Why it happened, without the count and the time that the event has in fields of its own too. */
export function detailOf({ detail }: Pick<AuditEvent, "detail">): string | null {
  return detail?.replace(/ \(\d+ times since [^)]+\)$/, "") ?? null;
}

/** The user that the event is about, unless it is about the actor. */
export function subjectOf(event: AuditEvent, directory: Directory): string | undefined {
  if (event.user_id === null || event.actor === `user:${event.user_id}`) return undefined;
  const name = userName(directory, event.user_id);
  // The target of an event about a user is the address, also after the user was deleted.
  return directory.users.has(event.user_id) || !event.target?.includes("@") ? name : event.target;
}
