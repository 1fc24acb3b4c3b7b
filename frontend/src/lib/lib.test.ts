import { describe, expect, it } from "vitest";
import { generatePassword } from "@/lib/password";
import { compact, localPath, oneOf, positive, text } from "@/lib/search";
import { relativeTime } from "@/lib/time";

describe("search parameters", () => {
  it("reads what the router parses", () => {
    expect(text(12)).toBe("12");
    expect(text("")).toBeUndefined();
    expect(positive("3")).toBe(3);
    expect(positive(3.5)).toBeUndefined();
    expect(positive(-1)).toBeUndefined();
    expect(oneOf(["a", "b"], "b")).toBe("b");
    expect(oneOf(["a", "b"], "c")).toBeUndefined();
  });

  it("leaves out what is absent", () => {
    expect(compact({ q: "", page: undefined, selected: 2 })).toEqual({ selected: 2 });
  });

  it.each(["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", 1])(
    "%s is no path of the application",
    (value) => {
      expect(localPath(value)).toBeUndefined();
    },
  );

  it("keeps a path of the application", () => {
    expect(localPath("/users?q=a#b")).toBe("/users?q=a#b");
  });
});

describe("relativeTime", () => {
  const now = Date.parse("2026-11-30T12:00:00Z");

  it.each([
    ["2026-11-30T11:59:40Z", "just now"],
    ["2026-11-30T12:00:20Z", "in less than a minute"],
    ["2026-11-30T11:58:00Z", "2 minutes ago"],
    ["2026-11-30T14:59:00Z", "in 3 hours"],
    ["2026-11-27T13:00:00Z", "2 days ago"],
    ["2026-12-07T11:59:00Z", "in 7 days"],
  ])("%s is %s", (time, words) => {
    expect(relativeTime(time, now)).toBe(words);
  });
});

describe("generatePassword", () => {
  it("is long, legible and different each time", () => {
    const passwords = new Set(Array.from({ length: 50 }, generatePassword));
    expect(passwords.size).toBe(50);
    for (const password of passwords)
      expect(password).toMatch(/^([a-km-np-z2-9]{5}-){3}[a-km-np-z2-9]{5}$/);
  });
});
