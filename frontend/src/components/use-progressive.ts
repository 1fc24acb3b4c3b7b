import { useEffect, useState } from "react";

/** How many rows are shown at once, and how many more with each frame. More than a screen has. */
const FIRST = 60;
const STEP = 30;

interface Shown<Row> {
  rows: readonly Row[];
  count: number;
}

/**
 * The first of many rows at once and the others frame by frame, so that a long list does not stop
 * the page. A list that is only brought up to date stays as long as it was.
 */
export function useProgressive<Row>(
  rows: readonly Row[],
  keyOf: (row: Row) => string | number,
): readonly Row[] {
  const [shown, setShown] = useState<Shown<Row>>({ rows, count: FIRST });
  let { count } = shown;
  if (rows !== shown.rows) {
    if (!isContinued(shown.rows, rows, keyOf)) count = FIRST;
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
