/** The colours of the parts of a bar; the last one is that of the rest. */
const FILLS = [
  "fill-series-1",
  "fill-series-2",
  "fill-series-3",
  "fill-series-4",
  "fill-series-5",
  "fill-series-6",
] as const;

/** The colour of the part at `index` of `count` parts, of which the last one is the rest. */
export function fillOf(index: number, count: number): string | undefined {
  return index === count - 1 ? FILLS.at(-1) : FILLS[index];
}
