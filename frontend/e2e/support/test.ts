import { type BrowserContext, test as base, expect, type Page } from "@playwright/test";
import { type Account, Api } from "./api.ts";
import { admin, origin } from "./environment.ts";
import { Watch } from "./watch.ts";

export { expect };

interface Fixtures {
  /** What goes wrong in the browser. Each story fails if anything did. */
  watch: Watch;
  /** A page of the first admin, signed in, at no address yet. */
  adminPage: Page;
}

interface WorkerFixtures {
  /** The API as the first admin. */
  api: Api;
}

/** A story of the web UI. */
export const test = base.extend<Fixtures, WorkerFixtures>({
  api: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the names from the pattern
    async ({}, use) => {
      await use(new Api(admin));
    },
    { scope: "worker" },
  ],
  watch: [
    async ({ context }, use) => {
      const watch = await Watch.over(context);
      await use(watch);
      expect(watch.problems()).toEqual([]);
    },
    { auto: true },
  ],
  adminPage: async ({ context, page }, use) => {
    await signIn(context, admin);
    await use(page);
  },
});

/** Signs a browser in without its form. */
export async function signIn(
  context: BrowserContext,
  { email, password }: Pick<Account, "email" | "password">,
): Promise<void> {
  const response = await context.request.post("/auth/login", {
    headers: { Origin: origin },
    data: { username: email, password },
  });
  expect(response.status()).toBe(200);
}

/** Signs in with the form of the page. */
export async function fillSignIn(
  page: Page,
  { email, password }: Pick<Account, "email" | "password">,
): Promise<void> {
  await page.getByRole("textbox", { name: "Username" }).fill(email);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** Signs in with the form, as soon as the server takes another attempt after one that failed. */
export async function signInAfterFailure(
  page: Page,
  account: Pick<Account, "email" | "password">,
): Promise<void> {
  await expect(async () => {
    await fillSignIn(page, account);
    await expect(page.getByText(`Signed in as ${account.email}`)).toBeVisible({ timeout: 2_000 });
  }).toPass();
}

/** A message of the live region, such as “User updated”. */
export function message(page: Page, text: string | RegExp) {
  return page.getByRole("status", { name: "Messages" }).getByText(text, { exact: true });
}
