import type { BrowserContext, Page } from "@playwright/test";
import { settle } from "./views.ts";

export const ADMIN_PATHS = ["overview", "users", "keys", "models", "usage", "audit"];
export const USER_PATHS = ["chat", "embeddings", "my-usage", "account"];

/** What a load costs its user. The times depend on the machine, so that nothing asserts them. */
export interface Load {
  path: string;
  /** The sum of layout shifts without input. */
  cls: number;
  /** Each of those shifts, with the elements that moved. */
  shifts: string[];
  /** The total blocking time: of each task, what exceeds 50 ms. In milliseconds. */
  tbt: number;
  /** From the navigation until the heading is painted and the page answers input. In milliseconds. */
  interactive: number;
  /** Of the scripts that were loaded, compressed. In kB. */
  scripts: number;
}

declare global {
  interface Window {
    shifts?: { value: number; nodes: string[] }[];
    tasks?: number[];
    interactive?: number;
  }
}

/** Makes every page of the context record what `measureLoad` reads. */
export async function observeLoads(context: BrowserContext): Promise<void> {
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
    const look = () => {
      if (document.querySelector("h1") === null) return requestAnimationFrame(look);
      // The task after the frame: input that arrives during the frame is handled then.
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        window.interactive = performance.now();
      };
      return port2.postMessage(undefined);
    };
    look();
  });
}

/** Loads a page of the UI and reads what it cost once nothing is loaded any more. */
export async function measureLoad(page: Page, path: string): Promise<Load> {
  await page.goto(`/ui/${path}`, { waitUntil: "commit" });
  await page.getByRole("heading", { level: 1 }).waitFor();
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
      interactive: window.interactive ?? Number.POSITIVE_INFINITY,
      scripts: resources
        .filter(({ name }) => name.endsWith(".js"))
        .reduce((sum, { encodedBodySize }) => sum + encodedBodySize / 1000, 0),
      shifts: shifts.map(({ value, nodes }) => `${value.toFixed(5)} ${nodes.join(" | ")}`),
    };
  });
  return { path, ...measured };
}
