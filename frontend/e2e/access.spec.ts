import { call } from "./support/api.ts";
import { expect, signIn, test } from "./support/test.ts";

/** The pages of admins, by path. */
const FORBIDDEN_PAGES = ["/overview", "/users", "/keys", "/models", "/usage", "/audit"];

/** What those pages ask the server for. */
const FORBIDDEN_REQUESTS: [string, string, unknown?][] = [
  ["GET", "/users"],
  ["POST", "/users", { email: "mallory@example.com" }],
  ["PATCH", "/users/1", { is_active: false }],
  ["POST", "/users/1/password", { password: "mallory was here, honestly" }],
  ["DELETE", "/users/1"],
  ["POST", "/credentials", { user_id: 1 }],
  ["GET", "/audit"],
  ["GET", "/audit/export?format=csv"],
  ["GET", "/usage?user_id=1"],
  ["GET", "/models"],
  ["POST", "/models/pull", { model: "smollm2:135m" }],
];

test("a user sees the own pages only, and the server refuses the rest", async ({
  page,
  context,
  api,
}) => {
  const user = await api.createUser();
  await signIn(context, user);
  await page.goto("/ui/");
  const navigation = page.getByRole("navigation", { name: "Pages" }).getByRole("link");
  await expect(navigation).toHaveText(["Ollama chat", "Embeddings", "My usage", "My account"]);

  for (const path of FORBIDDEN_PAGES) {
    const requests: string[] = [];
    page.on("request", (request) => requests.push(new URL(request.url()).pathname));
    await page.goto(`/ui${path}?selected=1`);
    await expect(page.getByRole("heading", { name: "Access denied" })).toBeVisible();
    // A page that is not shown asks for nothing.
    expect(requests).not.toContain(path);
    expect(requests).not.toContain("/credentials");
    page.removeAllListeners("request");
  }
  await page.getByRole("link", { name: "Go to Ollama chat" }).click();
  await expect(page.getByRole("heading", { name: "Ollama chat" })).toBeVisible();

  // Whatever the page hides, the server decides.
  const token = await tokenOf(user);
  for (const [method, path, body] of FORBIDDEN_REQUESTS) {
    const answer = await call(method, path, token, body);
    expect(`${method} ${path} ${answer.status}`).toBe(`${method} ${path} 403`);
  }
});

test("without a role there is the own account, and a hint", async ({ page, context, api }) => {
  const user = await api.createUser({ roles: [] });
  await signIn(context, user);
  await page.goto("/ui/");
  const navigation = page.getByRole("navigation", { name: "Pages" }).getByRole("link");
  await expect(navigation).toHaveText(["My account"]);
  await expect(page.getByText("You have no role").first()).toBeVisible();
  await page.goto("/ui/chat");
  await expect(page.getByRole("heading", { name: "Access denied" })).toBeVisible();
  expect((await call("GET", "/api/tags", await tokenOf(user))).status).toBe(403);
});

async function tokenOf({ email, password }: { email: string; password: string }): Promise<string> {
  const answer = await call("POST", "/auth/login", undefined, { username: email, password });
  return ((await answer.json()) as { access_token: string }).access_token;
}
