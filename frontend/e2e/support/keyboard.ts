import { expect, type Locator, type Page } from "@playwright/test";

/** More stops than any page has. */
const MOST_STOPS = 150;

/** Presses Tab until the element has the focus, as somebody without a mouse does. */
export async function tabTo(page: Page, target: Locator): Promise<void> {
  await expect(target).toBeVisible();
  for (let stop = 0; stop < MOST_STOPS; stop += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) {
      return expectVisibleFocus(page);
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${target}`);
}

/** Types into a field after Tab has led to it. */
export async function tabAndType(page: Page, field: Locator, text: string): Promise<void> {
  await tabTo(page, field);
  await page.keyboard.type(text);
}

/** Presses a button or follows a link after Tab has led to it. */
export async function tabAndPress(
  page: Page,
  target: Locator,
  key: "Enter" | "Space" = "Enter",
): Promise<void> {
  await tabTo(page, target);
  await page.keyboard.press(key);
}

/** WCAG 2.4.7 and 2.4.11: the focus is seen, and nothing that stays on the screen covers it. */
async function expectVisibleFocus(page: Page): Promise<void> {
  const focus = await page.evaluate(() => {
    const element = document.activeElement;
    if (element === null) return { hasIndicator: false, isInView: false };
    const holder = element.closest("label") ?? element;
    const styles = [getComputedStyle(element), getComputedStyle(holder)];
    const hasIndicator = styles.some(
      (style) => style.outlineStyle !== "none" || style.boxShadow !== "none",
    );
    const box = holder.getBoundingClientRect();
    const isInView = box.bottom > 0 && box.top < innerHeight;
    return { hasIndicator, isInView };
  });
  expect(focus).toEqual({ hasIndicator: true, isInView: true });
}
