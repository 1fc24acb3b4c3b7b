import { type Account, type Api, call, freshEmail } from "./support/api.ts";
import { PAYLOADS } from "./support/payloads.ts";
import { answerWith, ask } from "./support/streams.ts";
import { expect, test } from "./support/test.ts";

// The fixture `watch` fails each story after an execution, a CSP report or a request elsewhere.

/** The longest label and display name that the server takes. */
const MAX_LABEL = 100;

test("the watch sees an execution and what the policy blocks", async ({
  adminPage: page,
  watch,
}) => {
  const answer = await page.goto("/ui/users");
  const policy = answer?.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain("unsafe");
  await page.evaluate(() => {
    document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=reportProblem('executed')>");
  });
  await expect
    .poll(() => watch.problems().filter((each) => /CSP: script-src/.test(each)))
    .toHaveLength(1);
  expect(watch.problems()).not.toContain("executed");
  watch.forgive();
});

test("in e-mails, names, labels and model names of the lists", async ({ adminPage: page, api }) => {
  const { owner, labels } = await poison(api);
  // The server takes no such addresses. A page must not depend on it.
  await page.route(/\/users\?/, async (route) => {
    const response = await route.fetch();
    const rows = (await response.json()) as Record<string, unknown>[];
    const first = rows[0] ?? {};
    await route.fulfill({
      response,
      json: PAYLOADS.map((email, index) => ({
        ...first,
        id: 900_000 + index,
        email,
        display_name: email,
        managed_by: { kind: "ApiUser", namespace: email, name: email, uid: email },
      })),
    });
  });
  await page.goto("/ui/users");
  for (const payload of PAYLOADS) {
    await expect(
      page.getByRole("button", { name: `Select ${oneLine(payload)}` }).first(),
    ).toBeVisible();
  }
  await page.unroute(/\/users\?/);

  await page.goto(`/ui/users?selected=${owner.id}`);
  await expect(page.getByRole("button", { name: /^Revoke/ }).first()).toBeVisible();
  await page.goto(`/ui/keys?owner=${owner.id}`);
  await expect(page.getByText(labels.at(-1) ?? "", { exact: true }).first()).toBeVisible();
  for (const payload of PAYLOADS.slice(0, 12)) {
    await page.goto(
      `/ui/keys?q=${encodeURIComponent(payload)}&model=${encodeURIComponent(payload)}`,
    );
    await expect(page.getByRole("heading", { name: "API keys" })).toBeVisible();
  }

  await page.route(
    (url) => url.pathname === "/models",
    async (route) => {
      const response = await route.fetch();
      const body = (await response.json()) as { models: Record<string, unknown>[] };
      const first = body.models[0] ?? {};
      await route.fulfill({
        response,
        json: {
          ...body,
          models: PAYLOADS.map((name) => ({ ...first, name, model: name, id: name })),
        },
      });
    },
  );
  await page.goto("/ui/models");
  await expect(page.getByRole("button", { name: /^Details/ })).toHaveCount(PAYLOADS.length);
});

test("in the fields of the audit log", async ({ adminPage: page, api }) => {
  const { owner, secret } = await poison(api);
  for (const payload of PAYLOADS) {
    const agent = { "User-Agent": oneLine(payload) };
    await call("POST", "/api/chat", secret, { model: payload, messages: [] }, agent);
    await call("GET", "/users", secret, undefined, agent);
  }
  await page.goto(`/ui/audit?user=${owner.id}&limit=500`);
  const events = page.getByRole("table", { name: "events" }).getByRole("row");
  await expect(events.nth(1)).toBeVisible();
  expect(await events.count()).toBeGreaterThan(PAYLOADS.length);
  const details = page.getByRole("button", { name: /^Details/ });
  for (const index of [0, 5, 10, 15]) {
    await details.nth(index).click();
    await expect(page.getByRole("dialog")).toBeVisible();
    await page.keyboard.press("Escape");
    await expect(page.getByRole("dialog")).toBeHidden();
  }
  await page.goto(`/ui/audit?target=${encodeURIComponent(PAYLOADS[0] ?? "")}`);
  await expect(page.getByRole("heading", { name: "Audit log" })).toBeVisible();
});

test("in what a model answers and thinks", async ({ adminPage: page }) => {
  const text = PAYLOADS.join("\n\n");
  await answerWith(page, text, { thinking: text });
  await page.goto("/ui/chat");
  await ask(page, text);
  const answer = page.getByRole("log").getByRole("article").last();
  await expect(answer).toContainText("35.6 tokens/s");
  await answer.getByText(/^Thought/).click();
  expect(
    await answer.locator("script, iframe, object, embed, style, base, link, img, svg a").count(),
  ).toBe(0);
  const links = await answer
    .getByRole("link")
    .evaluateAll((found) => found.map((link) => (link as HTMLAnchorElement).href));
  expect(links.filter((link) => !/^(https?|mailto):/.test(link))).toEqual([]);
});

test("in the address bar", async ({ adminPage: page }) => {
  for (const payload of PAYLOADS.slice(0, 20)) {
    const text = encodeURIComponent(payload);
    await page.goto(`/ui/users?q=${text}`);
    await expect(page.getByRole("textbox", { name: "Search users" })).toHaveValue(payload);
  }
  await page.context().clearCookies();
  for (const next of [
    "javascript:reportProblem('executed')",
    "//evil.example/",
    "https://evil.example/",
  ]) {
    await page.goto(`/ui/sign-in?next=${encodeURIComponent(next)}`);
    await expect(page.getByRole("heading", { name: "Sign in to Paddock" })).toBeVisible();
  }
});

/** A user whose name and whose keys' labels are payloads. */
async function poison(api: Api): Promise<{ owner: Account; secret: string; labels: string[] }> {
  const owner = await api.createUser({
    email: freshEmail("mallory"),
    display_name: PAYLOADS[9] ?? null,
  });
  const labels = PAYLOADS.map(oneLine).filter((label) => label.length <= MAX_LABEL);
  let secret = "";
  for (const label of labels) ({ secret } = await api.createKey(owner.id, { label }));
  return { owner, secret, labels };
}

/** The text as a browser shows it on one line, and as a header may have it. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
