import { t } from "@/features/audit/text";
import en from "@/locales/en/audit.json";

export type EventType = keyof typeof en.event;

/** Every type of event, in the order of the alphabet. */
export const EVENT_TYPES = Object.keys(en.event) as EventType[];

/** The types of what was refused or failed. */
const FAILURES: ReadonlySet<string> = new Set<EventType>([
  "access_denied",
  "login_failure",
  "login_rate_limited",
  "model_deletion_failed",
  "session_reuse_detected",
]);

/** A type in words. The type itself, if a newer server has it. */
export function eventName(type: string): string {
  return isKnown(type) ? t(`event.${type}`) : type;
}

export function isFailure(type: string): boolean {
  return FAILURES.has(type);
}

/** The types that contain a text, in their code or in words. */
export function typesLike(text: string): EventType[] {
  const words = text.trim().toLowerCase();
  const code = words.replaceAll(/[\s-]+/g, "_");
  return EVENT_TYPES.filter(
    (type) => type.includes(code) || eventName(type).toLowerCase().includes(words),
  );
}

function isKnown(type: string): type is EventType {
  return Object.hasOwn(en.event, type);
}
