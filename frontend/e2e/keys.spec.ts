import type { Page } from "@playwright/test";
import { type Account, type Api, call, freshEmail } from "./support/api.ts";
import { expectNoTrace } from "./support/secrets.ts";
import { expect, message, test } from "./support/test.ts";

const isAccepted = async (secret: string) => (await call("GET", "/me", secret)).status === 200;

test("an admin issues, rotates and revokes a key", async ({ adminPage: page, api, watch }) => {
  const user = await api.createUser();
  await openUser(page, user);
  const panel = page.getByRole("region", { name: "Credentials" });
  await panel.getByRole("textbox", { name: "Label" }).fill("deploy");
  await panel.getByRole("button", { name: "Issue", exact: true }).click();
  const first = await storeSecret(page, `Key for ${user.email} issued`);
  expect(await isAccepted(first)).toBe(true);

  await panel.getByRole("button", { name: "Rotate deploy" }).click();
  const rotation = page.getByRole("dialog", { name: "Rotate deploy" });
  await rotation.getByRole("combobox", { name: "The old secret works for" }).selectOption("1 hour");
  await rotation.getByRole("button", { name: "Rotate key" }).click();
  const second = await storeSecret(page, "New secret of deploy");
  expect(second).not.toBe(first);
  expect([await isAccepted(first), await isAccepted(second)]).toEqual([true, true]);

  await panel.getByRole("button", { name: "Details of deploy" }).click();
  const details = page.getByRole("dialog", { name: "deploy", exact: true });
  const secrets = details.getByRole("region", { name: "Secrets" });
  await expect(secrets.getByRole("listitem")).toHaveCount(2);
  const countdown = secrets.getByRole("listitem").filter({ hasText: "Ends in" }).getByRole("time");
  const before = await countdown.textContent();
  expect(before).toMatch(/\d/);
  await expect(countdown).not.toHaveText(before ?? "");
  await details.getByRole("button", { name: "End the old one now" }).click();
  await page
    .getByRole("dialog", { name: "End the old secret of deploy now?" })
    .getByRole("button", { name: "End the old secret" })
    .click();
  await expect(message(page, "Ended the old secret of deploy")).toBeVisible();
  expect([await isAccepted(first), await isAccepted(second)]).toEqual([false, true]);

  await panel.getByRole("button", { name: "Revoke deploy" }).click();
  const revocation = page.getByRole("dialog", { name: `Revoke deploy of ${user.email}?` });
  await expect(revocation.getByRole("button", { name: "Cancel" })).toBeFocused();
  await revocation.getByRole("button", { name: "Revoke key" }).click();
  await expect(message(page, "Revoked deploy")).toBeVisible();
  await expect(panel.getByRole("row").filter({ hasText: "deploy" })).toContainText("Revoked");
  expect(await isAccepted(second)).toBe(false);
  for (const secret of [first, second]) await expectNoTrace(page, watch, secret);
});

test("a secret is gone after Done, Back and reload", async ({ adminPage: page, api, watch }) => {
  const user = await api.createUser();
  const issue = async (label: string) => {
    await page.goto("/ui/keys");
    await page.getByRole("button", { name: "Issue a key" }).click();
    const dialog = page.getByRole("dialog", { name: "Issue a key" });
    await dialog.getByRole("combobox", { name: "Owner" }).fill(user.email);
    await dialog.getByRole("textbox", { name: "Label" }).fill(label);
    await dialog.getByRole("button", { name: "Issue", exact: true }).click();
    return readSecret(page, `Key for ${user.email} issued`);
  };

  await test.step("after Done", async () => {
    const secret = await issue("done");
    await finish(page);
    await expectNoTrace(page, watch, secret);
    await page.goBack();
    await expectNoTrace(page, watch, secret);
    await page.goForward();
    await expectNoTrace(page, watch, secret);
  });
  await test.step("after Back", async () => {
    const secret = await issue("back");
    await page.goBack();
    await expect(page.getByRole("dialog")).toBeHidden();
    await expectNoTrace(page, watch, secret);
    await page.goForward();
    await expectNoTrace(page, watch, secret);
  });
  await test.step("after a reload", async () => {
    const secret = await issue("reload");
    await page.reload();
    await expect(page.getByText(/^Signed in as/)).toBeVisible();
    await expectNoTrace(page, watch, secret);
  });
});

test("the table of all keys is searched, filtered and sorted", async ({ adminPage: page, api }) => {
  const { user, revoked } = await threeKeys(api);
  await page.goto("/ui/keys");
  await page.getByRole("textbox", { name: "Search keys" }).fill(user.email);
  const rows = page.getByRole("row").filter({ hasText: user.email });
  await expect(rows).toHaveCount(2);
  await page.getByRole("button", { name: "Filters", exact: true }).click();
  await page.getByRole("combobox", { name: "State" }).selectOption({ label: "All" });
  await expect(rows).toHaveCount(3);
  await expect(rows.filter({ hasText: revoked })).toContainText("Revoked");
  await page.getByRole("button", { name: "Key", exact: true }).click();
  await expect(rows.first()).toContainText("alpha");
  await page.getByRole("button", { name: "Key", exact: true }).click();
  await expect(rows.first()).toContainText("gamma");
  // Whoever gets the address sees the same rows.
  await page.reload();
  await expect(rows).toHaveCount(3);
  await expect(rows.first()).toContainText("gamma");

  await page.getByRole("button", { name: "Open alpha" }).click();
  const details = page.getByRole("dialog", { name: "alpha", exact: true });
  await details.getByRole("button", { name: "Edit" }).click();
  await details.getByRole("textbox", { name: "Label" }).fill("alpha two");
  await details.getByRole("button", { name: "Save settings" }).click();
  await expect(message(page, "Key updated")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(rows.filter({ hasText: "alpha two" })).toBeVisible();
});

async function threeKeys(api: Api) {
  const user = await api.createUser({ email: freshEmail("keys") });
  await api.createKey(user.id, { label: "alpha" });
  await api.createKey(user.id, { label: "beta" });
  const revoked = "gamma";
  const { id } = await api.createKey(user.id, { label: revoked });
  await api.json("POST", `/credentials/${id}/revoke`);
  return { user, revoked };
}

async function openUser(page: Page, { id, email }: Account): Promise<void> {
  await page.goto(`/ui/users?selected=${id}`);
  await expect(page.getByRole("heading", { name: email })).toBeVisible();
}

async function readSecret(page: Page, title: string): Promise<string> {
  const dialog = page.getByRole("dialog", { name: title });
  const text = await dialog.getByText(/^pdk_/).first().textContent();
  expect(text).toMatch(/^pdk_\w+$/);
  return text ?? "";
}

async function finish(page: Page): Promise<void> {
  await page.getByRole("checkbox", { name: "I have stored the key" }).check();
  await page.getByRole("button", { name: "Done", exact: true }).click();
  await expect(page.getByText("One-time secret")).toHaveCount(0);
}

/** Reads the secret of the dialog, and closes the dialog. */
async function storeSecret(page: Page, title: string): Promise<string> {
  const secret = await readSecret(page, title);
  await finish(page);
  return secret;
}
