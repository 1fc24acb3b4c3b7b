/** The cosine of the angle between two vectors: 1 is the same direction, 0 none in common. */
export function cosine(a: readonly number[], b: readonly number[]): number {
  let product = 0;
  let squareA = 0;
  let squareB = 0;
  for (const [index, x] of a.entries()) {
    const y = b[index] ?? 0;
    product += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  const length = Math.sqrt(squareA * squareB);
  // Rounding may lead beyond 1.
  return length === 0 ? 0 : Math.max(-1, Math.min(1, product / length));
}

/** Two texts, by their positions, and how alike they are. */
export interface Pair {
  a: number;
  b: number;
  cosine: number;
}

/** Every pair of different vectors, the most alike first. */
export function pairsOf(vectors: readonly (readonly number[])[]): Pair[] {
  const pairs = vectors.flatMap((vector, a) =>
    vectors.slice(a + 1).map((other, index) => ({
      a,
      b: a + 1 + index,
      cosine: cosine(vector, other),
    })),
  );
  return pairs.sort((one, other) => other.cosine - one.cosine);
}

/** The texts of a field: its lines without empty ones, or the whole of it. */
export function textsOf(value: string, isSplit: boolean): string[] {
  const parts = isSplit ? value.split("\n") : [value];
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}
