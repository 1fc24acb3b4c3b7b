import { readFile } from "node:fs/promises";
import { call, freshEmail, freshPassword } from "./support/api.ts";
import { expect, message, test } from "./support/test.ts";

test("an admin finds a user, changes what the user may do, and deletes the user", async ({
  adminPage: page,
  api,
}) => {
  const user = await api.createUser({ email: freshEmail("ada") });
  const signInWith = async (password: string) => {
    const body = { username: user.email, password };
    return (await call("POST", "/auth/login", undefined, body)).status;
  };
  expect(await signInWith(user.password)).toBe(200);

  await page.goto("/ui/users");
  const list = page.getByRole("region", { name: "Users & roles" });
  await list.getByRole("textbox", { name: "Search users" }).fill(user.email);
  // The field searches when the typing pauses.
  await expect(page).toHaveURL(/[?&]q=/);
  await list.getByRole("button", { name: `Select ${user.email}` }).click();
  await expect(page).toHaveURL(new RegExp(`selected=${user.id}`));
  // Every state has an address.
  await page.reload();
  const settings = page.getByRole("region", { name: "User settings" });
  await expect(settings.getByRole("checkbox", { name: "user", exact: true })).toBeChecked();
  await expect(list.getByRole("textbox", { name: "Search users" })).toHaveValue(user.email);

  await test.step("a disabled user cannot sign in", async () => {
    await settings.getByRole("checkbox", { name: "Active" }).uncheck();
    await settings.getByRole("textbox", { name: "Display name" }).fill("Ada");
    await settings.getByRole("button", { name: "Save settings" }).click();
    await expect(message(page, "User updated")).toBeVisible();
    const row = list.getByRole("row").filter({ hasText: user.email });
    await expect(row).toContainText("Disabled");
    await expect(row).toContainText("Ada");
    expect(await signInWith(user.password)).toBe(401);
    await settings.getByRole("checkbox", { name: "Active" }).check();
    await settings.getByRole("button", { name: "Save settings" }).click();
    await expect(row).toContainText("Active");
  });

  await test.step("the server's rules are shown at the field", async () => {
    const panel = page.getByRole("region", { name: "Set user password" });
    const field = panel.getByLabel("New password", { exact: true });
    await field.fill("short");
    await panel.getByRole("button", { name: "Update password" }).click();
    await expect(field).toHaveAttribute("aria-invalid", "true");
    await expect(field).toHaveAccessibleDescription(/15/);
    const password = freshPassword();
    await field.fill(password);
    await panel.getByRole("button", { name: "Update password" }).click();
    await expect(message(page, "Password updated")).toBeVisible();
    await expect(field).toHaveValue("");
    // First 429, so soon after the failed attempt above. A success ends that.
    await expect.poll(() => signInWith(password)).toBe(200);
    expect(await signInWith(user.password)).toBe(401);
  });

  await test.step("the user is exported as YAML", async () => {
    await page.getByRole("button", { name: `Export as YAML ${user.email}` }).click();
    const dialog = page.getByRole("dialog", { name: `${user.email} as YAML` });
    await dialog.getByRole("textbox", { name: "Namespace" }).fill("team-a");
    await expect(dialog.getByRole("region", { name: "YAML" })).toContainText("namespace: team-a");
    const download = page.waitForEvent("download");
    await dialog.getByRole("button", { name: "Download" }).click();
    const file = await download;
    expect(file.suggestedFilename()).toMatch(/\.yaml$/);
    expect(await readFile(await file.path(), "utf8")).toContain(`email: ${user.email}`);
    await page.keyboard.press("Escape");
  });

  await test.step("Refresh shows what others have changed", async () => {
    await api.json("PATCH", `/users/${user.id}`, { roles: ["admin"] });
    await list.getByRole("button", { name: "Refresh" }).click();
    await expect(list.getByRole("row").filter({ hasText: user.email })).toContainText("admin");
  });

  await test.step("deletion asks for the address", async () => {
    await page.getByRole("button", { name: `Delete ${user.email}` }).click();
    const dialog = page.getByRole("dialog", { name: `Delete ${user.email}?` });
    await expect(dialog.getByRole("button", { name: "Cancel" })).toBeFocused();
    await dialog.getByRole("button", { name: "Delete user" }).click();
    await expect(dialog.getByText(/differs from/)).toBeVisible();
    await dialog.getByRole("textbox").fill(user.email);
    await dialog.getByRole("button", { name: "Delete user" }).click();
    await expect(message(page, `Deleted ${user.email}`)).toBeVisible();
    await expect(page.getByText(`No user matches “${user.email}”`)).toBeVisible();
  });
});

test("a wrong or known address is explained", async ({ adminPage: page, api }) => {
  const { email } = await api.createUser();
  await page.goto("/ui/users");
  const creation = page.getByRole("region", { name: "User creation" });
  const field = creation.getByRole("textbox", { name: "Email" });
  const create = creation.getByRole("button", { name: "Create" });

  await create.click();
  await expect(field).toHaveAccessibleDescription(/required/);
  await field.fill("not an address");
  await create.click();
  await expect(field).toHaveAttribute("aria-invalid", "true");
  await field.fill(email);
  await create.click();
  await expect(creation.getByRole("alert")).toContainText("User exists");
});
