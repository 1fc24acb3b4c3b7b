import type { BrowserContext, Page } from "@playwright/test";
import { prepareStage, type Stage } from "./support/stage.ts";
import { expect, test } from "./support/test.ts";
import { openView, PAGES, type View } from "./support/views.ts";

/** What a load costs its user. The times are of this machine, so that nothing asserts them. */
interface Figures {
  view: string;
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

let stage: Stage;

test.beforeAll(async ({ api }) => {
  stage = await prepareStage(api);
});

test("nothing moves while a page loads", async ({ browser }, info) => {
  const figures: Figures[] = [];
  for (const view of PAGES) {
    // A context of its own: nothing is cached.
    const context = await browser.newContext({ baseURL: info.project.use.baseURL ?? "" });
    await observe(context);
    figures.push(await measure(context, await context.newPage(), view));
    await context.close();
  }
  await info.attach("figures.json", {
    body: JSON.stringify(figures, null, 2),
    contentType: "application/json",
  });
  for (const { view, cls, tbt, interactive, scripts } of figures) {
    const description = JSON.stringify({ cls, tbt, interactive, scripts });
    info.annotations.push({ type: view, description });
  }
  expect(figures.flatMap(({ view, shifts }) => shifts.map((each) => `${view}: ${each}`))).toEqual(
    [],
  );
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

async function measure(context: BrowserContext, page: Page, view: View): Promise<Figures> {
  let interactive = 0;
  page.once("domcontentloaded", () => {
    void page
      .getByRole("heading", { level: 1 })
      .waitFor()
      .then(async () => {
        interactive = await page.evaluate(() => performance.now());
      });
  });
  await openView(context, page, view, stage);
  await expect.poll(() => interactive).toBeGreaterThan(0);
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
  return { view: view.name, ...measured, interactive };
}
