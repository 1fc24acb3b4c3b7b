const EXACT = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

/** A number as in `12,345`. */
export function exact(value: number): string {
  return EXACT.format(value);
}

/** A number as in `12.3K`. */
export function short(value: number): string {
  return SHORT.format(value);
}

/** A share as in `12.3%`. Nothing of nothing is 0. */
export function percent(part: number, whole: number): string {
  return PERCENT.format(whole === 0 ? 0 : part / whole);
}
