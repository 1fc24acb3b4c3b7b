import type { Page } from "@playwright/test";

/**
 * These run in the page and find elements by selectors: a search by role reads every row of a long
 * table, and would be measured too. Each asks for every frame, so that there are frames to measure.
 */

/** The pixels that one frame scrolls: a fling. */
const SCROLL_STEP = 400;

/** Scrolls to the end of a table and goes to its next page, until it has shown so many rows. */
export async function pageThrough(page: Page, next: string, rows: number): Promise<void> {
  const seen = await page.evaluate(showRows, { next, rows, step: SCROLL_STEP });
  if (seen < rows) throw new Error(`the table has ${seen} rows instead of ${rows}`);
}

async function showRows({ next, rows, step }: { next: string; rows: number; step: number }) {
  const frame = () => new Promise(requestAnimationFrame);
  const table = () => document.querySelector(".table-frame");
  const firstRow = () => table()?.querySelector("tbody tr")?.textContent;
  const page = document.documentElement;
  let seen = 0;
  for (;;) {
    let shown = 0;
    // A long table gets its last rows frames later.
    for (let quiet = 0; quiet < 5; quiet += 1) {
      page.scrollTop += step;
      await frame();
      const count = table()?.querySelectorAll("tbody tr").length ?? 0;
      const isAtEnd = page.scrollTop + page.clientHeight >= page.scrollHeight - 1;
      if (!isAtEnd || count > shown) quiet = -1;
      shown = count;
    }
    seen += shown;
    const button = [...document.querySelectorAll<HTMLButtonElement>("main nav button")].find(
      ({ textContent }) => textContent?.startsWith(next),
    );
    if (seen >= rows || button === undefined || button.disabled) return seen;
    const former = firstRow();
    const isShown = () => ![undefined, former].includes(firstRow());
    button.click();
    do await frame();
    while (!isShown() || table()?.getAttribute("aria-busy") === "true");
    page.scrollTop = 0;
  }
}

/** Sorts a table by each of its columns, twice. Returns the milliseconds of the slowest sort. */
export async function sortByEachColumn(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const heads = () => [...document.querySelectorAll("thead th:has(button)")];
    let slowest = 0;
    for (let column = 0; column < heads().length; column += 1) {
      for (let count = 0; count < 2; count += 1) {
        const direction = () => heads()[column]?.getAttribute("aria-sort");
        const former = direction();
        const start = performance.now();
        heads()[column]?.querySelector("button")?.click();
        do await frame();
        while (direction() === former);
        await frame();
        slowest = Math.max(slowest, performance.now() - start);
        for (let quiet = 0; quiet < 30; quiet += 1) await frame();
      }
    }
    return slowest;
  });
}

/** Waits until the answer that is arriving is complete. */
export async function waitForAnswer(page: Page): Promise<void> {
  await page.evaluate(async () => {
    const log = () => document.querySelector("[role=log]");
    do await new Promise(requestAnimationFrame);
    while (log()?.getAttribute("aria-busy") !== "true");
    do await new Promise(requestAnimationFrame);
    while (log()?.getAttribute("aria-busy") === "true");
  });
}
