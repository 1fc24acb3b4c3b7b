import { useEffect, useState } from "react";

/** No row is lower, in pixels: a screen has at most as many rows as this allows. */
const MIN_ROW_HEIGHT = 32;
/** How many rows are added with each frame. */
const STEP = 15;

interface Shown<Row> {
  rows: readonly Row[];
  count: number;
}

/**
 * The rows that fill a screen at once and the others frame by frame, so that a long list does not stop
 * the page. A list that is only brought up to date stays as long as it was.
 */
export function useProgressive<Row>(
  rows: readonly Row[],
  keyOf: (row: Row) => string | number,
): readonly Row[] {
  const [shown, setShown] = useState<Shown<Row>>(() => ({ rows, count: rowsOnScreen() }));
  let { count } = shown;
  if (rows !== shown.rows) {
    if (!isContinued(shown.rows, rows, keyOf)) count = rowsOnScreen();
    setShown({ rows, count });
  }
  const isWhole = count >= rows.length;
  // biome-ignore lint/correctness/useExhaustiveDependencies: each count asks for the next frame
  useEffect(() => {
    if (isWhole) return undefined;
    const frame = requestAnimationFrame(() =>
      setShown((now) => ({ ...now, count: now.count + STEP })),
    );
    return () => cancelAnimationFrame(frame);
  }, [isWhole, count]);
  return isWhole ? rows : rows.slice(0, count);
}

function rowsOnScreen(): number {
  return Math.ceil(window.innerHeight / MIN_ROW_HEIGHT);
}

/** Whether a row of the old list is in the new one. */
function isContinued<Row>(
  before: readonly Row[],
  after: readonly Row[],
  keyOf: (row: Row) => string | number,
): boolean {
  const [first] = before;
  if (first === undefined) return false;
  const key = keyOf(first);
  return after.some((row) => keyOf(row) === key);
}
