import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { prepareStage, type Stage } from "./support/stage.ts";
import { expect, test } from "./support/test.ts";
import { DIALOGS, openView, PAGES } from "./support/views.ts";

/** WCAG 2.2 AA, and what axe calls best practice. */
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

let stage: Stage;

test.beforeAll(async ({ api }) => {
  stage = await prepareStage(api);
});

for (const view of [...PAGES, ...DIALOGS]) {
  test(`${view.name} has no barrier, in light and dark, narrow and enlarged`, async ({
    context,
    page,
  }) => {
    await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
    await openView(context, page, view, stage);
    expect(await barriers(page), "in light").toEqual([]);
    await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
    expect(await barriers(page), "in dark").toEqual([]);

    // 320 px is also 400 % of a window of 1280 px, and 640 px is 200 %.
    for (const size of [
      { width: 1280, height: 860 },
      { width: 1024, height: 768 },
      { width: 768, height: 1024 },
      { width: 640, height: 430 },
      { width: 320, height: 640 },
    ]) {
      await page.setViewportSize(size);
      expect(await sideways(page), `at ${size.width} px`).toEqual([]);
    }
    expect(await barriers(page), "at 320 px").toEqual([]);
  });
}

test("the menu of narrow screens has no barrier and leads everywhere", async ({
  adminPage: page,
}) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await page.goto("/ui/users");
  await page.getByRole("button", { name: "Menu" }).click();
  const menu = page.getByRole("dialog", { name: "Menu" });
  await expect(menu.getByRole("link", { name: "Audit log" })).toBeVisible();
  expect(await barriers(page)).toEqual([]);
  expect(await sideways(page)).toEqual([]);
  await menu.getByRole("link", { name: "Audit log" }).click();
  await expect(menu).toBeHidden();
  await expect(page.getByRole("heading", { name: "Audit log" })).toBeVisible();
});

test("no two controls of a page have one name", async ({ context, page }) => {
  for (const view of PAGES) {
    await openView(context, page, view, stage);
    const names = await page
      .getByRole("button")
      .or(page.getByRole("textbox"))
      .or(page.getByRole("combobox"))
      .evaluateAll((controls) =>
        controls.map((control) => {
          const labels = [...((control as HTMLInputElement).labels ?? [])].map(
            (label) => label.textContent,
          );
          const name = control.getAttribute("aria-label") ?? labels[0] ?? control.textContent;
          return `${control.tagName} ${name?.trim()}`;
        }),
      );
    const twice = names.filter((name, index) => names.indexOf(name) !== index);
    expect(twice, view.name).toEqual([]);
  }
});

/** What axe finds: the rule, and the elements that break it. */
async function barriers(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).withTags(TAGS).analyze();
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary}`),
  );
}

/** What is wider than its place: the page, the open dialog, a table in its panel. */
function sideways(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const scrolled = [document.documentElement, ...document.querySelectorAll("main, dialog[open]")]
      .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
      .map(
        ({ tagName, scrollWidth, clientWidth }) => `${tagName}: ${scrollWidth} > ${clientWidth}`,
      );
    const tables = [...document.querySelectorAll("table")]
      // What a model answers may hold a table of any width, which scrolls.
      .filter((table) => table.closest("[role=log]") === null)
      .map((table) => [table.scrollWidth, table.parentElement?.clientWidth ?? 0] as const)
      .filter(([width, place]) => width > place)
      .map(([width, place]) => `table: ${width} > ${place}`);
    return [...scrolled, ...tables];
  });
}
