import { freshPassword } from "./support/api.ts";
import { expect, fillSignIn, signIn, signInAfterFailure, test } from "./support/test.ts";

test("a user changes the own password", async ({ page, context, api }) => {
  const user = await api.createUser({ display_name: "Grace" });
  await signIn(context, user);
  await page.goto("/ui/account");
  await expect(page.getByRole("region", { name: "Profile" })).toContainText("Grace");
  const panel = page.getByRole("region", { name: "Change own password" });
  const current = panel.getByLabel("Current password", { exact: true });
  const next = panel.getByLabel("New password", { exact: true });
  const update = panel.getByRole("button", { name: "Update password" });

  await update.click();
  await expect(current).toHaveAccessibleDescription(/required/);
  const password = freshPassword();
  await current.fill("a wrong password");
  await next.fill(password);
  await update.click();
  await expect(current).toHaveAccessibleDescription(/not (your|the) (current|present) password/);
  await current.fill(user.password);
  const form = page.getByRole("heading", { name: "Sign in to Paddock" });
  // The server takes no other attempt for a second after one that failed.
  await expect(async () => {
    await update.click();
    await expect(form).toBeVisible({ timeout: 10_000 });
  }).toPass();
  await fillSignIn(page, user);
  await expect(page.getByRole("alert")).toContainText("Invalid credentials");
  await signInAfterFailure(page, { ...user, password });
});

test("a user ends the own sessions in every browser", async ({ page, context, browser, api }) => {
  const user = await api.createUser();
  await api.createKey(user.id, { label: "notebook" });
  await signIn(context, user);
  await page.goto("/ui/account");
  await expect(page.getByRole("region", { name: "Own keys" })).toContainText("notebook");

  const elsewhere = await browser.newContext();
  await signIn(elsewhere, user);
  const other = await elsewhere.newPage();
  await other.goto("/ui/account");
  await expect(other.getByRole("heading", { name: "My account" })).toBeVisible();

  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await expect(page.getByRole("heading", { name: "Sign in to Paddock" })).toBeVisible();
  await other.reload();
  await expect(other.getByRole("heading", { name: "Sign in to Paddock" })).toBeVisible();
  await elsewhere.close();
});
