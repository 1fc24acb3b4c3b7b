import { t } from "@/features/credentials/text";

const DAY = 86_400_000;
/** The shortest comes first and is preselected. */
const PRESETS = [7, 30, 90, 365];
export const SHORTEST = String(PRESETS[0]);

/** `keep`, a number of days, `date` with `date` in the browser's time zone, or `never`. */
export interface Expiry {
  choice: string;
  date: string;
}

export const EXPIRY_OPTIONS = [
  ...PRESETS.map((days) => ({
    value: String(days),
    label: days === 365 ? t("expiry.year") : t("expiry.days", { count: days }),
  })),
  { value: "date", label: t("expiry.date") },
  { value: "never", label: t("expiry.never") },
];

/** The time in RFC 3339; null: never; undefined: no time was chosen. */
export function expiryTime({ choice, date }: Expiry, now = Date.now()): string | null | undefined {
  if (choice === "never") return null;
  if (choice !== "date") return new Date(now + Number(choice) * DAY).toISOString();
  const time = new Date(date).getTime();
  return Number.isNaN(time) ? undefined : new Date(time).toISOString();
}
