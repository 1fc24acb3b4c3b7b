const ABSOLUTE = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "long",
});
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });

const UNITS: readonly [unit: Intl.RelativeTimeFormatUnit, milliseconds: number][] = [
  ["year", 365 * 86_400_000],
  ["month", 30 * 86_400_000],
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** Date, time and time zone, as in `30 Nov 2026, 09:15:02 CET`. */
export function absoluteTime(time: string | number): string {
  return ABSOLUTE.format(new Date(time));
}

/** The distance from `now`, as in `3 minutes ago` or `in 2 days`. */
export function relativeTime(time: string | number, now: number): string {
  const distance = new Date(time).getTime() - now;
  for (const [unit, milliseconds] of UNITS) {
    if (Math.abs(distance) >= milliseconds) {
      return RELATIVE.format(Math.trunc(distance / milliseconds), unit);
    }
  }
  return distance > 0 ? "in less than a minute" : "just now";
}
