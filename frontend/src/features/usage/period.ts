import type { Range, UsageSearch } from "@/features/usage/search";

/** In milliseconds. */
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Whole UTC days. */
export interface Period {
  /** The first day. */
  from: string;
  /** The day after the last one. */
  to: string;
}

/** The days of each preset before today, and whether today belongs to it. */
const PRESETS: Record<Exclude<Range, "custom">, { back: number; days: number }> = {
  today: { back: 0, days: 1 },
  yesterday: { back: 1, days: 1 },
  "7d": { back: 6, days: 7 },
  "30d": { back: 29, days: 30 },
};

/** The days of a range, seen from `now` in milliseconds since the epoch. */
export function periodOf({ range = "7d", from, through }: UsageSearch, now: number): Period {
  const today = Math.floor(now / DAY) * DAY;
  if (range === "custom") {
    const first = from === undefined ? today - 6 * DAY : Date.parse(from);
    const last = through === undefined ? Math.max(today, first) : Date.parse(through);
    return { from: dayOf(Math.min(first, last)), to: dayOf(Math.max(first, last) + DAY) };
  }
  const { back, days } = PRESETS[range];
  const first = today - back * DAY;
  return { from: dayOf(first), to: dayOf(first + days * DAY) };
}

/** The last day of a period. */
export function lastDay(period: Period): string {
  return dayOf(Date.parse(period.to) - DAY);
}

/** One day is drawn by hour. */
export function isOneDay(period: Period): boolean {
  return lastDay(period) === period.from;
}

/** The beginnings of all hours or days of a period, as the API writes them, shortened. */
export function stepsOf(period: Period): string[] {
  const step = isOneDay(period) ? HOUR : DAY;
  const length = isOneDay(period) ? "2026-11-01T00".length : "2026-11-01".length;
  const steps: string[] = [];
  for (let at = Date.parse(period.from); at < Date.parse(period.to); at += step) {
    steps.push(new Date(at).toISOString().slice(0, length));
  }
  return steps;
}

const DAY_TEXT = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});
const LONG_DAY_TEXT = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
  timeZone: "UTC",
});

/** A day as in `Mon, 30 Nov 2026`. */
export function dayText(day: string): string {
  return LONG_DAY_TEXT.format(Date.parse(day));
}

/** A step of `stepsOf` as in `30 Nov` or `09:00`. */
export function stepText(step: string): string {
  const hour = step.split("T")[1];
  return hour === undefined ? DAY_TEXT.format(Date.parse(step)) : `${hour}:00`;
}

function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
