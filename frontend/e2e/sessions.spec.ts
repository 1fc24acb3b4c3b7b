import { Api } from "./support/api.ts";
import { expect, fillSignIn, signIn, signInAfterFailure, test } from "./support/test.ts";

const SIGN_IN = { name: "Sign in to Paddock" };

test("the form explains what is missing or wrong", async ({ page, api }) => {
  const user = await api.createUser();
  await page.goto("/ui/");
  await expect(page.getByRole("heading", SIGN_IN)).toBeVisible();
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toHaveText(/Username and password are required/);
  await fillSignIn(page, { ...user, password: "a wrong password" });
  await expect(page.getByRole("alert")).toContainText("Invalid credentials");
  await signInAfterFailure(page, user);
});

test("a reload keeps the session, and signing out ends it in every tab", async ({
  page,
  context,
  api,
}) => {
  const user = await api.createUser();
  await signIn(context, user);
  const other = await context.newPage();
  for (const tab of [page, other]) {
    await tab.goto("/ui/account");
    await expect(tab.getByText(`Signed in as ${user.email}`)).toBeVisible();
  }
  await page.reload();
  await expect(page.getByRole("heading", { name: "My account" })).toBeVisible();

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  for (const tab of [page, other]) await expect(tab.getByRole("heading", SIGN_IN)).toBeVisible();
  await other.goBack().catch(() => null);
  await other.goto("/ui/account");
  await expect(other.getByRole("heading", SIGN_IN)).toBeVisible();

  await test.step("signing in in one tab opens the other", async () => {
    await fillSignIn(page, user);
    await expect(page.getByText(`Signed in as ${user.email}`)).toBeVisible();
    await expect(other.getByRole("heading", { name: "My account" })).toBeVisible();
  });
});

test("an ended session returns to sign-in, and then to the same place", async ({
  page,
  context,
  api,
}) => {
  const user = await api.createUser({ roles: ["admin"] });
  await signIn(context, user);
  await page.goto("/ui/users?q=example");
  await expect(page.getByRole("heading", { name: "User Management" })).toBeVisible();
  await new Api(user).endSessions();

  await page.getByRole("button", { name: "Refresh" }).click();
  await expect(page.getByRole("heading", SIGN_IN)).toBeVisible();
  await expect(page.getByText("Your session ended.", { exact: false })).toBeVisible();
  await fillSignIn(page, user);
  await expect(page).toHaveURL(/\/ui\/users\?q=example$/);
  await expect(page.getByRole("textbox", { name: "Search users" })).toHaveValue("example");
});

test("tabs that refresh at once stay signed in", async ({ page, context, api }) => {
  const user = await api.createUser();
  await signIn(context, user);
  const tabs = [page, await context.newPage(), await context.newPage()];
  for (const tab of tabs) await tab.goto("/ui/account");
  for (let round = 0; round < 3; round += 1) {
    await Promise.all(tabs.map((tab) => tab.reload()));
    for (const tab of tabs) {
      await expect(tab.getByText(`Signed in as ${user.email}`)).toBeVisible();
    }
  }
});

test("a refresh whose answer is lost does not end the session", async ({ page, context, api }) => {
  const user = await api.createUser();
  await signIn(context, user);
  // The server answers, but the browser never sees it.
  await page.route(
    "**/auth/refresh",
    async (route) => {
      const cookies = await context.cookies();
      await route.fetch();
      await context.addCookies(cookies);
      await route.abort("connectionreset");
    },
    { times: 1 },
  );
  await page.goto("/ui/account");
  await page.reload();
  await expect(page.getByText(`Signed in as ${user.email}`)).toBeVisible();
});
