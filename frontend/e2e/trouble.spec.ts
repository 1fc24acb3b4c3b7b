import { answerWith, ask } from "./support/streams.ts";
import { expect, signIn, test } from "./support/test.ts";

test("a server that is away is announced, and its return too", async ({
  adminPage: page,
  context,
}) => {
  await page.clock.install();
  await page.goto("/ui/users");
  await expect(page.getByRole("button", { name: /^Select/ }).first()).toBeVisible();
  await context.setOffline(true);
  // The next check of the server.
  await page.clock.fastForward("00:20");
  const banner = page.getByRole("alert").filter({ hasText: "Paddock does not answer" });
  await expect(banner).toBeVisible();
  await expect(page.getByRole("button", { name: /^Backend status/ })).toContainText("Unreachable");
  await page.getByRole("button", { name: /^Backend status/ }).click();
  const status = page.getByRole("dialog", { name: "Backend status" });
  await expect(status.getByRole("listitem").filter({ hasText: "Paddock server" })).toContainText(
    "Not working",
  );
  await page.keyboard.press("Escape");

  await context.setOffline(false);
  await page.clock.fastForward("00:20");
  await expect(banner).toBeHidden();
  await expect(page.getByRole("button", { name: /^Backend status/ })).toContainText("All working");
});

test("what is typed into the command palette while it is loaded is kept", async ({
  adminPage: page,
}) => {
  let load = () => {};
  const isWanted = new Promise<void>((resolve) => {
    load = resolve;
  });
  await page.route(/\/Palette-[^/]+\.js$/, async (route) => {
    await isWanted;
    await route.continue();
  });
  await page.goto("/ui/users");
  await page.getByRole("button", { name: /^Go to/ }).click();
  await expect(page.getByRole("textbox", { name: "Command palette" })).toBeFocused();
  await page.keyboard.type("aud");
  load();
  const field = page.getByRole("combobox", { name: "Command palette" });
  await expect(field).toHaveValue("aud");
  await page.keyboard.type("it");
  await expect(page.getByRole("option", { name: "Audit log" })).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/audit/);
});

test("a list that failed says why, with the request id, and is tried again", async ({
  adminPage: page,
}) => {
  const requestId = "01a22be6-d3a1-740d-b99a-b544c052ef3b";
  await page.route(/\/users\?/, (route) =>
    route.fulfill({
      status: 500,
      contentType: "application/problem+json",
      headers: { "X-Request-Id": requestId },
      body: JSON.stringify({
        type: "https://paddock.dev/problems/internal",
        title: "Internal error",
        status: 500,
        detail: "the database did not answer",
        request_id: requestId,
      }),
    }),
  );
  await page.goto("/ui/users");
  const error = page.getByRole("alert").filter({ hasText: "Internal error" });
  await expect(error).toContainText("The database did not answer.");
  await expect(error).toContainText(requestId);
  await page.unroute(/\/users\?/);
  await error.getByRole("button", { name: "Retry users" }).click();
  await expect(page.getByRole("button", { name: /^Select/ }).first()).toBeVisible();
});

test("too many requests: the page counts down and can then go on", async ({ adminPage: page }) => {
  await page.route(/\/users\?/, (route) =>
    route.fulfill({
      status: 429,
      contentType: "application/problem+json",
      headers: { "Retry-After": "3" },
      body: JSON.stringify({
        type: "https://paddock.dev/problems/rate-limited",
        title: "Too many requests",
        status: 429,
        detail: "the limit is 60 requests a minute",
      }),
    }),
  );
  await page.goto("/ui/users");
  const retry = page.getByRole("alert").getByRole("button", { name: /^Retry/ });
  await expect(retry).toBeDisabled();
  await expect(retry).toHaveText(/Retry in \d seconds?/);
  await page.unroute(/\/users\?/);
  await expect(retry).toBeEnabled();
  await retry.click();
  await expect(page.getByRole("button", { name: /^Select/ }).first()).toBeVisible();
});

test("a stream that breaks says so and keeps its text", async ({ page, context, api }) => {
  await signIn(context, await api.createUser());
  await answerWith(page, "The first half of an answer", { isComplete: false });
  await page.goto("/ui/chat");
  await ask(page, "Go on");
  const answer = page.getByRole("log").getByRole("article").last();
  await expect(answer.getByRole("alert")).toContainText("The answer broke off");
  await expect(answer).toContainText("The first half of an answer");

  await page.unroute("**/api/chat");
  await answerWith(page, "A whole answer");
  await answer.getByRole("button", { name: "Retry" }).click();
  await expect(answer).toContainText("A whole answer");
  await expect(answer).not.toContainText("The first half");
});

test("Ollama away: chat says why, and the other pages work", async ({ adminPage: page }) => {
  await page.route(/\/readyz$/, (route) =>
    route.fulfill({ json: { status: "degraded", degraded: ["ollama"] } }),
  );
  await page.route(/\/api\/tags$/, (route) =>
    route.fulfill({
      status: 502,
      contentType: "application/problem+json",
      body: JSON.stringify({
        type: "https://paddock.dev/problems/upstream-unreachable",
        title: "Ollama is unreachable",
        status: 502,
        detail: "no backend answers",
      }),
    }),
  );
  await page.goto("/ui/chat");
  await expect(page.getByRole("textbox", { name: "Model" })).toHaveAccessibleDescription(
    /cannot be listed.*no backend answers/i,
    { timeout: 40_000 },
  );
  await expect(page.getByRole("button", { name: /^Backend status/ })).toContainText("Degraded");
  await page.getByRole("link", { name: "Users" }).click();
  await expect(page.getByRole("button", { name: /^Select/ }).first()).toBeVisible();
});
