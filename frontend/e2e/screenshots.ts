import { join } from "node:path";
import { prepareStage, type Stage } from "./support/stage.ts";
import { test } from "./support/test.ts";
import { DIALOGS, openView, PAGES } from "./support/views.ts";

const FOLDER = join(import.meta.dirname, "../../docs/pictures");

/** The dialogs that the documentation shows; of the pages, it shows every one. */
const SHOWN_DIALOGS = ["one-time-secret", "key", "audit-event", "model", "command-palette"];
const HIDDEN_PAGES = ["sign-in-refused", "access-denied", "page-not-found"];

let stage: Stage;

test.beforeAll(async ({ api }) => {
  stage = await prepareStage(api, "reports@example.com");
  await api.createUser({ email: "ada@example.com", roles: ["admin"] });
  await api.createUser({ email: "kiosk@example.com", models: ["smollm2"] });
  await api.createUser({ email: "intern@example.com", roles: [] });
});

for (const view of [
  ...PAGES.filter(({ name }) => !HIDDEN_PAGES.includes(name)),
  ...DIALOGS.filter(({ name }) => SHOWN_DIALOGS.includes(name)),
]) {
  test(view.name, async ({ context, page }) => {
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.emulateMedia({ reducedMotion: "reduce" });
    await openView(context, page, view, stage);
    await page.evaluate(showUsualAddresses);
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({
        path: join(FOLDER, `${view.name}-${colorScheme}.png`),
        animations: "disabled",
        caret: "hide",
      });
    }
  });
}

/** Runs in the page. The ports of this run mean nothing to readers: shows those of an installation. */
function showUsualAddresses(): void {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node !== null; node = texts.nextNode()) {
    const text = node.textContent ?? "";
    const usual = text
      .replaceAll(location.host, "localhost:8080")
      .replace(/127\.0\.0\.1:\d+/g, "localhost:11434");
    if (usual !== text) node.textContent = usual;
  }
}
