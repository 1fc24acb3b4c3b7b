import { describe, expect, it } from "vitest";
import { durationText, relativeTime } from "@/lib/time";

describe("durationText", () => {
  it.each([
    [0, "0 sec"],
    [59, "59 sec"],
    [60, "1 min 0 sec"],
    [86_399, "23 hr 59 min"],
    [86_400 * 3 + 3_600, "3 days 1 hr"],
  ])("%i s: %s", (seconds, text) => {
    expect(durationText(seconds)).toBe(text);
  });
});

describe("relativeTime", () => {
  it("abbreviates the units where room is short", () => {
    expect(relativeTime(0, 180_000)).toBe("3 minutes ago");
    expect(relativeTime(0, 180_000, "short")).toBe("3 min. ago");
  });
});
