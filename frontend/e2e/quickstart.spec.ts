import type { Locator, Page } from "@playwright/test";
import { call, chatWith, freshEmail, freshPassword } from "./support/api.ts";
import { admin } from "./support/environment.ts";
import { tabAndPress, tabAndType, tabTo } from "./support/keyboard.ts";
import { expectNoTrace } from "./support/secrets.ts";
import { expect, fillSignIn, message, test } from "./support/test.ts";

/** The rows of the log that the quickstart leaves, by what the page calls them. */
const EVENTS = ["User created", "Roles changed", "Password set", "Key issued"];

test("an admin creates a user with a key, uses the key, and finds it all in the audit log", async ({
  page,
  watch,
}) => {
  const email = freshEmail("quickstart");
  await page.goto("/ui/");
  await fillSignIn(page, admin);
  await expect(page.getByText(`Signed in as ${admin.email}`)).toBeVisible();

  await page.getByRole("link", { name: "Users" }).click();
  await expect(page.getByRole("heading", { name: "User Management" })).toBeVisible();
  const creation = page.getByRole("region", { name: "User creation" });
  await creation.getByRole("textbox", { name: "Email" }).fill(email);
  await creation.getByRole("combobox", { name: "Role" }).selectOption({ label: NO_ROLE });
  await creation.getByRole("button", { name: "Create" }).click();
  await expect(message(page, `Created ${email}`)).toBeVisible();

  const settings = page.getByRole("region", { name: "User settings" });
  await expect(settings.getByRole("checkbox", { name: "Active" })).toBeChecked();
  await settings.getByRole("checkbox", { name: "user", exact: true }).check();
  await settings.getByRole("button", { name: "Save settings" }).click();
  await expect(message(page, "User updated")).toBeVisible();

  const password = page.getByRole("region", { name: "Set user password" });
  await password.getByLabel("New password", { exact: true }).fill(freshPassword());
  await password.getByRole("button", { name: "Update password" }).click();
  await expect(message(page, "Password updated")).toBeVisible();

  const credentials = page.getByRole("region", { name: "Credentials" });
  await expect(credentials.getByText("No credentials")).toBeVisible();
  await credentials.getByRole("textbox", { name: "Label" }).fill("ci");
  await credentials.getByRole("button", { name: "Issue", exact: true }).click();
  const secret = await readSecret(page);
  await page.getByRole("button", { name: "Copy One-time secret" }).click();
  await page.getByRole("button", { name: "Done", exact: true }).click();
  await expect(credentials.getByRole("button", { name: "Revoke ci" })).toBeVisible();
  await expectNoTrace(page, watch, secret);

  await expectAnswer(secret);

  await page.getByRole("link", { name: "Audit log" }).click();
  await expectEvents(page, email);
});

test("the same by keyboard alone", async ({ page, watch }) => {
  const email = freshEmail("keyboard");
  await page.goto("/ui/");
  // The field has the focus from the start.
  await tabAndType(page, page.getByRole("textbox", { name: "Username" }), admin.email);
  await tabAndType(page, page.getByLabel("Password", { exact: true }), admin.password);
  await page.keyboard.press("Enter");
  await expect(page.getByText(`Signed in as ${admin.email}`)).toBeVisible();

  await tabAndPress(page, page.getByRole("link", { name: "Users" }));
  await expect(page.getByRole("heading", { name: "User Management" })).toBeVisible();
  const creation = page.getByRole("region", { name: "User creation" });
  await tabAndType(page, creation.getByRole("textbox", { name: "Email" }), email);
  await tabTo(page, creation.getByRole("combobox", { name: "Role" }));
  await page.keyboard.type("none");
  await tabAndPress(page, creation.getByRole("button", { name: "Create" }));
  await expect(message(page, `Created ${email}`)).toBeVisible();

  const settings = page.getByRole("region", { name: "User settings" });
  const role = settings.getByRole("checkbox", { name: "user", exact: true });
  await expect(role).not.toBeChecked();
  await tabAndPress(page, role, "Space");
  await tabAndPress(page, settings.getByRole("button", { name: "Save settings" }), "Space");
  await expect(message(page, "User updated")).toBeVisible();

  const password = page.getByRole("region", { name: "Set user password" });
  const field = password.getByLabel("New password", { exact: true });
  await tabAndType(page, field, freshPassword());
  await page.keyboard.press("Enter");
  await expect(message(page, "Password updated")).toBeVisible();

  const credentials = page.getByRole("region", { name: "Credentials" });
  await tabAndType(page, credentials.getByRole("textbox", { name: "Label" }), "ci");
  await tabAndPress(page, credentials.getByRole("button", { name: "Issue", exact: true }));
  const secret = await readSecret(page);
  const dialog = page.getByRole("dialog");
  // A dialog with a secret does not close by accident.
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await expect(dialog).toBeVisible();
  await tabAndPress(page, dialog.getByRole("checkbox", { name: "I have stored the key" }), "Space");
  await tabAndPress(page, dialog.getByRole("button", { name: "Done", exact: true }));
  await expect(dialog).toBeHidden();
  await expectNoTrace(page, watch, secret);

  await expectAnswer(secret);

  // The first stop of every page leads past the navigation; the palette leads to any page.
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("combobox", { name: "Command palette" })).toBeFocused();
  await page.keyboard.type("audit");
  await expect(page.getByRole("option", { name: "Audit log" })).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Audit log" })).toBeVisible();
  const filter = page.getByRole("combobox", { name: "Filter by event type" });
  await tabAndType(page, filter, "user_created");
  await tabAndPress(page, page.getByRole("button", { name: "Load" }));
  await expect(rowOf(page, "User created", email)).toBeVisible();
  await tabAndPress(page, rowOf(page, "User created", email).getByRole("button"));
  await expect(page.getByRole("dialog", { name: "User created" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
});

const NO_ROLE = "none: may only see My account";

/** The secret of the dialog that is open. */
async function readSecret(page: Page): Promise<string> {
  const dialog = page.getByRole("dialog", { name: /issued/ });
  await expect(dialog.getByRole("heading", { name: "One-time secret" })).toBeVisible();
  await expect(dialog.getByRole("button", { name: "Done", exact: true })).toBeDisabled();
  const secret = await dialog.getByText(/^pdk_/).first().textContent();
  expect(secret).toMatch(/^pdk_\w+$/);
  return secret ?? "";
}

/** Asserts that the model answers a program that has the key, and nobody else. */
async function expectAnswer(secret: string): Promise<void> {
  const answer = await chatWith(secret);
  expect(answer.status).toBe(200);
  const { message: said, done } = (await answer.json()) as {
    message: { content: string };
    done: boolean;
  };
  expect(said.content).not.toBe("");
  expect(done).toBe(true);
  expect((await call("GET", "/api/tags", `${secret}x`)).status).toBe(401);
}

function rowOf(page: Page, event: string, email: string): Locator {
  return page.getByRole("row").filter({ hasText: event }).filter({ hasText: email });
}

async function expectEvents(page: Page, email: string): Promise<void> {
  await expect(page.getByRole("heading", { name: "Audit log" })).toBeVisible();
  for (const event of EVENTS) await expect(rowOf(page, event, email)).toBeVisible();
}
