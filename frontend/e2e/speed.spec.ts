import type { BrowserContext, Page } from "@playwright/test";
import type { Account } from "./support/api.ts";
import { admin } from "./support/environment.ts";
import { prepareStage } from "./support/stage.ts";
import { expect, signIn, test } from "./support/test.ts";
import { settle } from "./support/views.ts";

const ADMIN_PATHS = ["overview", "users", "keys", "models", "usage", "audit"];
const USER_PATHS = ["chat", "embeddings", "my-usage", "account"];

/** People do not notice a layout shift below this. The aim is 0, which most pages reach. */
const MAX_SHIFT = 0.05;

/** What a load costs its user. The times are of this machine, so that nothing asserts them. */
interface Figures {
  path: string;
  /** The sum of layout shifts without input. */
  cls: number;
  /** Each of those shifts, with the elements that moved. */
  shifts: string[];
  /** The total blocking time: of each task, what exceeds 50 ms. In milliseconds. */
  tbt: number;
  /** From the navigation until the first field or heading can be used. In milliseconds. */
  interactive: number;
  /** Of the scripts that were loaded, compressed. In kB. */
  scripts: number;
}

declare global {
  interface Window {
    shifts?: { value: number; nodes: string[] }[];
    tasks?: number[];
  }
}

test("nothing moves while a page loads", async ({ browser, api }, info) => {
  const { user } = await prepareStage(api);
  const figures: Figures[] = [];
  const load = async (path: string, as?: Pick<Account, "email" | "password">) => {
    // A context of its own: nothing is cached.
    const context = await browser.newContext({ baseURL: info.project.use.baseURL ?? "" });
    if (as !== undefined) await signIn(context, as);
    await observe(context);
    figures.push(await measure(await context.newPage(), path));
    await context.close();
  };
  await load("sign-in");
  for (const path of ADMIN_PATHS) await load(path, admin);
  for (const path of USER_PATHS) await load(path, user);
  await info.attach("figures.json", {
    body: JSON.stringify(figures, null, 2),
    contentType: "application/json",
  });
  for (const { path, cls, tbt, interactive, scripts } of figures) {
    const description = JSON.stringify({ cls, tbt, interactive, scripts });
    info.annotations.push({ type: path, description });
  }
  const shifted = figures.filter(({ cls }) => cls > MAX_SHIFT);
  expect(shifted.map(({ path, shifts }) => `${path}: ${shifts.join("; ")}`)).toEqual([]);
});

async function observe(context: BrowserContext): Promise<void> {
  await context.addInitScript(() => {
    window.shifts = [];
    window.tasks = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { value, hadRecentInput, sources } = entry as PerformanceEntry & {
          value: number;
          hadRecentInput: boolean;
          sources: { node: Node | null }[];
        };
        if (hadRecentInput) continue;
        const nodes = sources.map(({ node }) =>
          node instanceof Element ? node.outerHTML.slice(0, 120) : String(node?.textContent),
        );
        window.shifts?.push({ value, nodes });
      }
    }).observe({ type: "layout-shift", buffered: true });
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) window.tasks?.push(duration);
    }).observe({ type: "longtask", buffered: true });
  });
}

async function measure(page: Page, path: string): Promise<Figures> {
  await page.goto(`/ui/${path}`, { waitUntil: "commit" });
  await page.getByRole("heading", { level: 1 }).waitFor();
  const interactive = await page.evaluate(() => performance.now());
  await settle(page);
  await page.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
  );
  const measured = await page.evaluate(() => {
    const shifts = window.shifts ?? [];
    const resources = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
    return {
      cls: shifts.reduce((sum, { value }) => sum + value, 0),
      tbt: (window.tasks ?? []).reduce((sum, duration) => sum + Math.max(0, duration - 50), 0),
      scripts: resources
        .filter(({ name }) => name.endsWith(".js"))
        .reduce((sum, { encodedBodySize }) => sum + encodedBodySize / 1000, 0),
      shifts: shifts.map(({ value, nodes }) => `${value.toFixed(5)} ${nodes.join(" | ")}`),
    };
  });
  return { path, ...measured, interactive };
}
