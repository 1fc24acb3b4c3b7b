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

/** The tops of axes whose quarters are round too. */
const TOPS = [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10];

/** A round number of at least `value`, as the top of an axis. */
export function roundUp(value: number): number {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return (TOPS.find((top) => top * power >= value) ?? 10) * power;
}
