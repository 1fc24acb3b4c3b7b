import type { Pair } from "@/features/embeddings/cosine";
import { t } from "@/features/embeddings/text";

interface Props {
  count: number;
  pairs: readonly Pair[];
  /** The position of the text that the table is about. */
  selected: number | undefined;
}

/** In pixels. */
const MAX_SIZE = 352;
const MAX_CELL = 40;
const HEAD = 22;
/** Cells smaller than this, in pixels, get a number at every fifth place only. */
const MIN_NUMBERED = 14;

/**
 * Every text against every other one: the stronger the colour, the more alike. The table beside it
 * has the numbers, so that screen readers get one sentence.
 */
export function HeatMap({ count, pairs, selected }: Props) {
  const cell = Math.min(MAX_CELL, (MAX_SIZE - HEAD) / count);
  const size = HEAD + count * cell;
  const [closest] = pairs;
  const numbers = Array.from({ length: count }, (_, index) => index);
  return (
    <figure className="flex min-w-0 flex-col gap-2">
      <svg
        viewBox={`0 0 ${size} ${size}`}
        role="img"
        aria-label={t("map.label", {
          count,
          a: (closest?.a ?? 0) + 1,
          b: (closest?.b ?? 0) + 1,
          cosine: (closest?.cosine ?? 0).toFixed(2),
        })}
        width={size}
        className="h-auto max-w-full"
      >
        {numbers
          .filter((index) => cell >= MIN_NUMBERED || index % 5 === 4)
          .map((index) => (
            <Head key={index} index={index} size={cell} isSelected={index === selected} />
          ))}
        {numbers.map((index) => (
          <Cell key={index} size={cell} row={index} column={index} value={1} />
        ))}
        {pairs.map(({ a, b, cosine }) => (
          <g key={`${a}-${b}`}>
            <Cell size={cell} row={a} column={b} value={cosine} />
            <Cell size={cell} row={b} column={a} value={cosine} />
          </g>
        ))}
      </svg>
      <figcaption className="flex items-center gap-2 text-muted text-xs">
        {t("map.least")}
        <span
          aria-hidden
          className="h-2 w-24 rounded-full bg-linear-to-r from-accent/5 to-accent"
        />
        {t("map.most")}
      </figcaption>
    </figure>
  );
}

interface HeadProps {
  index: number;
  size: number;
  isSelected: boolean;
}

function Head({ index, size, isSelected }: HeadProps) {
  const at = HEAD + (index + 0.5) * size;
  const style = `text-xs ${isSelected ? "fill-accent-text font-semibold" : "fill-muted"}`;
  return (
    <>
      <text x={at} y={HEAD - 8} textAnchor="middle" className={style}>
        {index + 1}
      </text>
      <text x={HEAD - 8} y={at + 4} textAnchor="end" className={style}>
        {index + 1}
      </text>
    </>
  );
}

interface CellProps {
  row: number;
  column: number;
  size: number;
  value: number;
}

function Cell({ row, column, size, value }: CellProps) {
  return (
    <rect
      x={HEAD + column * size + 0.5}
      y={HEAD + row * size + 0.5}
      width={size - 1}
      height={size - 1}
      rx={size / 8}
      // Negative values are as unlike as 0 for a reader.
      fillOpacity={0.06 + 0.94 * Math.max(0, value) ** 1.5}
      className="fill-accent"
    >
      <title>{t("map.cell", { a: row + 1, b: column + 1, cosine: value.toFixed(3) })}</title>
    </rect>
  );
}
