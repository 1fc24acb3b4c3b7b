const TIME = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

/** A time of the user's zone, as in `30 Nov 2026, 10:03:12`. */
export function timeText(time: string): string {
  return TIME.format(new Date(time));
}

/** A time as the value of an input of the type `datetime-local`. A date is its beginning in UTC. */
export function toLocal(time: string | undefined): string {
  if (time === undefined) return "";
  const date = new Date(time);
  const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}

/** The other way round: a time of the user's zone in RFC 3339. */
export function fromLocal(local: string): string | undefined {
  const date = new Date(local);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
