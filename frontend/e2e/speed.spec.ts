import { setTimeout } from "node:timers/promises";
import type { Browser, BrowserContext, Page, TestInfo } from "@playwright/test";
import type { Account } from "./support/api.ts";
import { admin } from "./support/environment.ts";
import { prepareStage } from "./support/stage.ts";
import { expect, signIn, test } from "./support/test.ts";
import { settle } from "./support/views.ts";

const ADMIN_PATHS = ["overview", "users", "keys", "models", "usage", "audit"];
const USER_PATHS = ["chat", "embeddings", "my-usage", "account"];

const NARROW = { width: 390, height: 860 };
/** How late the answers of the API come, in turn: in another order than they were asked for. In ms. */
const DELAYS = [20, 240, 90, 320, 160];

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

test("what a load costs", async ({ browser, api }, info) => {
  const { user } = await prepareStage(api);
  const figures: Figures[] = [];
  const load = async (path: string, as?: Person) => {
    const context = await freshContext(browser, info, as);
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
  expect(shiftsOf(figures)).toEqual([]);
});

for (const viewport of [undefined, NARROW]) {
  const name = viewport === undefined ? "" : " on a narrow screen";
  test(`nothing moves while answers arrive late${name}`, async ({ browser, api }, info) => {
    const { user } = await prepareStage(api);
    const figures: Figures[] = [];
    const load = async (path: string, as: Person) => {
      const context = await freshContext(browser, info, as);
      const page = await context.newPage();
      if (viewport !== undefined) await page.setViewportSize(viewport);
      await answerLate(page);
      figures.push(await measure(page, path));
      await context.close();
    };
    for (const path of ADMIN_PATHS) await load(path, admin);
    await load(`users?selected=${user.id}`, admin);
    for (const path of USER_PATHS) await load(path, user);
    expect(shiftsOf(figures)).toEqual([]);
  });
}

type Person = Pick<Account, "email" | "password">;

/** A context of its own: nothing is cached. */
async function freshContext(browser: Browser, info: TestInfo, as?: Person) {
  const context = await browser.newContext({ baseURL: info.project.use.baseURL ?? "" });
  if (as !== undefined) await signIn(context, as);
  await observe(context);
  return context;
}

async function answerLate(page: Page): Promise<void> {
  let count = 0;
  await page.route(
    (url) => !url.pathname.startsWith("/ui/"),
    async (route) => {
      const delay = DELAYS[count % DELAYS.length] ?? 0;
      count += 1;
      await setTimeout(delay);
      await route.continue();
    },
  );
}

/** Each page on which something moved, with what moved. */
function shiftsOf(figures: readonly Figures[]): string[] {
  const shifted = figures.filter(({ cls }) => cls > 0);
  return shifted.map(({ path, shifts }) => `${path}: ${shifts.join("; ")}`);
}

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
