import { setTimeout } from "node:timers/promises";
import type { Browser, Page, TestInfo } from "@playwright/test";
import type { Account } from "./support/api.ts";
import { admin } from "./support/environment.ts";
import { ADMIN_PATHS, type Load, measureLoad, observeLoads, USER_PATHS } from "./support/loads.ts";
import { prepareStage } from "./support/stage.ts";
import { expect, signIn, test } from "./support/test.ts";

/** The usual screen of the stories, a phone, and a tall screen, which shows the ends of most pages. */
const SCREENS = {
  "": undefined,
  " on a narrow screen": { width: 390, height: 860 },
  " on a tall screen": { width: 1280, height: 2000 },
};
/** How late the answers of the API come, in turn: in another order than they were asked for. In ms. */
const DELAYS = [20, 240, 90, 320, 160];

test("nothing moves while a page is loaded", async ({ browser, api }, info) => {
  const { user } = await prepareStage(api);
  const loads: Load[] = [];
  const load = async (path: string, as?: Person) => {
    const context = await freshContext(browser, info, as);
    loads.push(await measureLoad(await context.newPage(), path));
    await context.close();
  };
  await load("sign-in");
  for (const path of ADMIN_PATHS) await load(path, admin);
  for (const path of USER_PATHS) await load(path, user);
  expect(shiftsOf(loads)).toEqual([]);
});

for (const [name, viewport] of Object.entries(SCREENS)) {
  test(`nothing moves while answers arrive late${name}`, async ({ browser, api }, info) => {
    const { user } = await prepareStage(api);
    const loads: Load[] = [];
    const load = async (path: string, as: Person) => {
      const context = await freshContext(browser, info, as);
      const page = await context.newPage();
      if (viewport !== undefined) await page.setViewportSize(viewport);
      await answerLate(page);
      loads.push(await measureLoad(page, path));
      await context.close();
    };
    for (const path of ADMIN_PATHS) await load(path, admin);
    await load(`users?selected=${user.id}`, admin);
    for (const path of USER_PATHS) await load(path, user);
    expect(shiftsOf(loads)).toEqual([]);
  });
}

type Person = Pick<Account, "email" | "password">;

/** A context of its own: nothing is cached. */
async function freshContext(browser: Browser, info: TestInfo, as?: Person) {
  const context = await browser.newContext({ baseURL: info.project.use.baseURL ?? "" });
  if (as !== undefined) await signIn(context, as);
  await observeLoads(context);
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
function shiftsOf(loads: readonly Load[]): string[] {
  const shifted = loads.filter(({ cls }) => cls > 0);
  return shifted.map(({ path, shifts }) => `${path}: ${shifts.join("; ")}`);
}
