import { t } from "@/features/models/text";

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;
const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A size as Ollama prints it: in powers of 1000. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${NUMBER.format(value)} ${UNITS[unit]}`;
}

/** A rough time, for what is left of a pull. */
export function durationText(seconds: number): string {
  if (seconds < 60) return t("duration.seconds", { count: Math.max(1, Math.round(seconds)) });
  if (seconds < 3600) return t("duration.minutes", { count: Math.round(seconds / 60) });
  return t("duration.hours", { count: Math.round(seconds / 3600) });
}

/** The beginning of a digest, enough to tell two apart. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, "").slice(0, 12);
}

/** The name as people type it: without the default registry and namespace. */
export function shortName(model: string): string {
  return model.replace(/^registry\.ollama\.ai\/(?:library\/)?/, "");
}

/** The host and port of a backend. */
export function hostOf(url: string): string {
  return url.replace(/^https?:\/\//, "").replace(/\/$/, "");
}
