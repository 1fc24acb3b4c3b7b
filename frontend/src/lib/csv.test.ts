import { describe, expect, it } from "vitest";
import { toCsv } from "@/lib/csv";

describe("toCsv", () => {
  it("quotes separators, quotes and line ends", () => {
    expect(toCsv([["a,b", 'c"d', "e\nf", -1.5]])).toBe('"a,b","c""d","e\nf",-1.5\r\n');
  });

  it.each(["=1+1", "+1", "-1", "@SUM(A1)", "'x", "＝1"])("disarms the formula %s", (text) => {
    expect(toCsv([[text]])).toBe(`'${text}\r\n`);
  });
});
