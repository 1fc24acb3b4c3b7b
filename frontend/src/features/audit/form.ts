import { type Directory, findUser } from "@/api/names";
import { typesLike } from "@/features/audit/events";
import { type AuditChange, MAX_LIMIT, RESULTS } from "@/features/audit/search";
import { t } from "@/features/audit/text";
import { fromLocal } from "@/features/audit/times";
import { userName } from "@/lib/names";
import { oneOf, positive } from "@/lib/search";

/** What is wrong with each field. */
export type Errors = Partial<
  Record<"event" | "limit" | "actor" | "user" | "key" | "until", string>
>;

const RULES = {
  limit: "filter.limitRule",
  actor: "filter.actorUnknown",
  user: "filter.userUnknown",
  key: "filter.keyUnknown",
} as const;

/**
 * Reads the fields of the filter. With errors, the search is not to be used. Asks the server for an
 * address that the directory does not have.
 */
export async function readForm(
  form: FormData,
  directory: Directory,
): Promise<{ search: AuditChange; errors: Errors }> {
  const errors: Errors = {};
  const text = (name: string) => String(form.get(name) ?? "").trim() || undefined;
  const [event, actor, user, key] = [text("event"), text("actor"), text("user"), text("key")];
  const search: AuditChange = {
    event,
    limit: within(positive(text("limit")), MAX_LIMIT),
    result: oneOf(RESULTS, text("result")),
    actor: actor === undefined ? undefined : await actorNamed(actor, directory),
    user: user === undefined ? undefined : await userNamed(user, directory),
    key: positive(key),
    target: text("target"),
    request: text("request"),
    since: fromLocal(text("since") ?? ""),
    until: fromLocal(text("until") ?? ""),
  };
  // A value that was typed, but is no value of the search, is wrong.
  for (const name of ["limit", "actor", "user", "key"] as const) {
    if (text(name) !== undefined && search[name] === undefined) errors[name] = t(RULES[name]);
  }
  if (event !== undefined && typesLike(event).length === 0) errors.event = t("filter.eventUnknown");
  const { since, until } = search;
  if (since !== undefined && until !== undefined && until <= since) {
    errors.until = t("filter.order");
  }
  return { search, errors };
}

function within(value: number | undefined, most: number): number | undefined {
  return value !== undefined && value <= most ? value : undefined;
}

/** An actor as the field shows it: a user by address, others as the log has them. */
export function shownActor(actor: string | undefined, directory: Directory): string {
  const id = positive(/^user:(\d+)$/.exec(actor ?? "")?.[1]);
  return id === undefined ? (actor ?? "") : (directory.users.get(id) ?? `user:${id}`);
}

async function actorNamed(text: string, directory: Directory): Promise<string | undefined> {
  if (text === "anonymous" || /^(user|key|operator|system):./.test(text)) return text;
  const user = await userNamed(text, directory);
  return user === undefined ? undefined : `user:${user}`;
}

async function userNamed(text: string, directory: Directory): Promise<number | undefined> {
  const wanted = text.toLowerCase();
  for (const [id, email] of directory.users) if (email.toLowerCase() === wanted) return id;
  // The field shows a user whose address is unknown by the id, as in “User 6”.
  const id = positive(/\d+$/.exec(text)?.[0]);
  if (id !== undefined && userName(directory, id) === text) return id;
  return directory.isWhole ? undefined : findUser(text);
}
