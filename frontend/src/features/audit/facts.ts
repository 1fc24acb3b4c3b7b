import type { Directory } from "@/api/names";
import type { AuditEvent } from "@/features/audit/queries";
import { t } from "@/features/audit/text";
import { actorOf, detailOf, subjectOf } from "@/lib/actors";
import { keyName } from "@/lib/names";

/** What a row says about an event besides its type and its actor. */
export function factsOf(event: AuditEvent, directory: Directory): string[] {
  const { name, hint } = actorOf(event, directory);
  const subject = subjectOf(event, directory);
  const key = event.credential_id;
  const times = timesOf(event);
  const facts = [
    // A request by a key is about its owner: the actor says so already.
    event.actor === `key:${key}` ? undefined : subject,
    key === null || event.actor === `key:${key}`
      ? undefined
      : t("fact.key", { name: labelIn(event) ?? keyName(directory, key) }),
    event.target,
    detailOf(event),
    times === undefined ? undefined : t("fact.times", { count: times.count }),
  ];
  const known = new Set([name, hint]);
  return facts.filter((fact): fact is string => {
    if (fact == null || fact === "" || known.has(fact)) return false;
    known.add(fact);
    return true;
  });
}

/** How many events a row stands for, and since when, if several were counted into one. */
export function timesOf({ change }: AuditEvent): { count: number; since: string } | undefined {
  const after = fields(change?.after);
  const { times, since } = after;
  return typeof times === "number" && typeof since === "string"
    ? { count: times, since }
    : undefined;
}

export interface FieldChange {
  /** The path of the field, as in `limits.tokens_per_day`. */
  name: string;
  /** Undefined: the field had no value. */
  before: string | undefined;
  after: string | undefined;
}

/** The fields of a change, nested ones by their path. */
export function changesOf({ change }: AuditEvent): FieldChange[] {
  const before = flat(fields(change?.before));
  const after = flat(fields(change?.after));
  return [...new Set([...before.keys(), ...after.keys()])].map((name) => ({
    name,
    before: before.get(name),
    after: after.get(name),
  }));
}

/** The label that the event itself has: a key may have another one today. */
function labelIn({ change }: AuditEvent): string | undefined {
  const label = fields(change?.after).label ?? fields(change?.before).label;
  return typeof label === "string" && label !== "" ? label : undefined;
}

function flat(values: Record<string, unknown>, path = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(values)) {
    const inner = isObject(value) ? flat(value, `${path}${name}.`) : undefined;
    if (inner === undefined) found.set(`${path}${name}`, textOf(value));
    else for (const [each, text] of inner) found.set(each, text);
  }
  return found;
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) {
    return value.length === 0 ? "[]" : value.join(", ");
  }
  return JSON.stringify(value);
}

function fields(value: unknown): Record<string, unknown> {
  return isObject(value) ? value : {};
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
