/** The tops of axes whose quarters are round too. */
const TOPS = [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10];

/** A round number of at least `value`, as the top of an axis. */
export function roundUp(value: number): number {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return (TOPS.find((top) => top * power >= value) ?? 10) * power;
}
