import { describe, expect, it } from "vitest";
import { cosine, pairsOf, textsOf } from "@/features/embeddings/cosine";

describe("cosine", () => {
  it.each([
    [[1, 2, 3], [2, 4, 6], 1],
    [[1, 0], [0, 5], 0],
    [[1, 1], [-2, -2], -1],
    [[0, 0], [1, 2], 0],
  ])("of %j and %j is %d", (a, b, expected) => {
    expect(cosine(a, b)).toBeCloseTo(expected, 10);
  });
});

it("pairsOf has every pair once, the most alike first", () => {
  const pairs = pairsOf([
    [1, 0],
    [0, 1],
    [1, 0.1],
  ]);
  expect(pairs.map(({ a, b }) => [a, b])).toEqual([
    [0, 2],
    [1, 2],
    [0, 1],
  ]);
});

it("textsOf splits at lines or not at all", () => {
  expect(textsOf(" a \n\nb\n", true)).toEqual(["a", "b"]);
  expect(textsOf(" a \n\nb\n", false)).toEqual(["a \n\nb"]);
  expect(textsOf(" \n ", true)).toEqual([]);
});
