import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const SOURCE = join(import.meta.dirname, "..");
const MAX_LINES = 300;

/** What the files of each folder may import. `features/x` may import `features/x` only. */
const ALLOWED: Record<string, string[]> = {
  lib: ["lib", "locales", "api"],
  api: ["lib", "api"],
  components: ["lib", "locales", "api", "components"],
  features: ["lib", "locales", "api", "components"],
  routes: ["lib", "api", "components", "features"],
};

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.tsx?$/.test(name) && !/\.gen\.ts$|schema\.d\.ts$/.test(name))
  .map((name) => ({ name, source: readFileSync(join(SOURCE, name), "utf8") }));

const isTest = (name: string) => /\.test\.tsx?$/.test(name) || name.startsWith("test/");

function importsOf(source: string): string[] {
  return [...source.matchAll(/from "([^"]+)"/g)].flatMap(([, target]) => target ?? []);
}

function foldersOf(name: string): { folder: string; feature: string | undefined } {
  const [folder = "", feature] = name.split("/");
  return { folder, feature: folder === "features" ? feature : undefined };
}

describe("architecture", () => {
  it("imports run from shared folders to features to routes", () => {
    const wrong = files
      .filter(({ name }) => !isTest(name))
      .flatMap(({ name, source }) => {
        const from = foldersOf(name);
        const allowed = ALLOWED[from.folder];
        return importsOf(source)
          .filter((target) => target.startsWith("@/") || target.startsWith("."))
          .filter((target) => {
            const to = foldersOf(target.replace(/^@\//, ""));
            if (target.startsWith(".")) return true;
            if (allowed === undefined || allowed.includes(to.folder)) return false;
            return to.feature === undefined || to.feature !== from.feature;
          })
          .map((target) => `${name} imports ${target}`);
      });
    expect(wrong).toEqual([]);
  });

  it("components never call the API", () => {
    const calling = files
      .filter(({ name }) => name.startsWith("components/"))
      .filter(({ source }) => /from "@\/api\/(client|session)"/.test(source))
      .map(({ name }) => name);
    expect(calling).toEqual([]);
  });

  it("a file has at most 300 lines", () => {
    const long = files
      .filter(({ source }) => source.split("\n").length > MAX_LINES)
      .map(({ name }) => relative(SOURCE, join(SOURCE, name)));
    expect(long).toEqual([]);
  });

  it("no effect loads data", () => {
    const loading = files
      .filter(({ source }) => /useEffect\([^;]*(client\.|fetch\(|send\()/.test(source))
      .map(({ name }) => name);
    expect(loading).toEqual([]);
  });
});
