const ABSOLUTE = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "long",
});
const RELATIVE = {
  long: new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" }),
  short: new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" }),
};

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

/**
 * The distance from `now`, as in `3 minutes ago` or `in 2 days`; short: `3 min. ago`. The future is
 * rounded: what ends in 7 days still does a minute later.
 */
export function relativeTime(
  time: string | number,
  now: number,
  style: keyof typeof RELATIVE = "long",
): string {
  const distance = new Date(time).getTime() - now;
  for (const [unit, milliseconds] of UNITS) {
    if (Math.abs(distance) >= milliseconds) {
      const count = distance / milliseconds;
      return RELATIVE[style].format(count > 0 ? Math.round(count) : Math.trunc(count), unit);
    }
  }
  return distance > 0 ? "in less than a minute" : "just now";
}

const PARTS: readonly [unit: string, seconds: number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

/** A duration in its two largest units, as in `23 hr 59 min`. */
export function durationText(seconds: number): string {
  const first = PARTS.findIndex(([, size]) => seconds >= size);
  if (first === -1) return unitText(0, "second");
  let rest = seconds;
  return PARTS.slice(first, first + 2)
    .map(([unit, size]) => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return unitText(count, unit);
    })
    .join(" ");
}

function unitText(count: number, unit: string): string {
  return new Intl.NumberFormat("en", { style: "unit", unit, unitDisplay: "short" }).format(count);
}
