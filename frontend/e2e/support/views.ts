import { type BrowserContext, expect, type Page } from "@playwright/test";
import { freshEmail } from "./api.ts";
import { admin, chatModel } from "./environment.ts";
import type { Stage } from "./stage.ts";
import { answerWith, ask } from "./streams.ts";
import { signIn } from "./test.ts";

/** A page or dialog as somebody sees it. */
export interface View {
  name: string;
  /** Who looks at it; `user` is the user of the stage. */
  as: "visitor" | "admin" | "user";
  /** Opens it and waits until it is complete. */
  open: (page: Page, stage: Stage) => Promise<void>;
}

/** Opens a view in a browser of its own session. */
export async function openView(
  context: BrowserContext,
  page: Page,
  view: View,
  stage: Stage,
): Promise<void> {
  await context.clearCookies();
  if (view.as !== "visitor") await signIn(context, view.as === "admin" ? admin : stage.user);
  await view.open(page, stage);
  await settle(page);
}

/** Waits until nothing on the page is still being loaded. */
export async function settle(page: Page): Promise<void> {
  await expect(page.locator("[aria-busy=true]")).toHaveCount(0);
  await expect(page.getByText(/^(Loading |Checking$)/)).toHaveCount(0);
}

const ANSWER = `A paddock keeps horses in, and others out. **Paddock** does the same for models:

1. Each program has its own key.
2. A key can do what its owner may do, or less.

\`\`\`sh
curl http://localhost:8080/api/tags -H "Authorization: Bearer $KEY"
\`\`\`

| Role | May |
| --- | --- |
| user | use models |
| admin | do everything |`;

export const PAGES: readonly View[] = [
  {
    name: "sign-in",
    as: "visitor",
    open: async (page) => {
      await page.goto("/ui/");
      await expect(page.getByRole("heading", { name: "Sign in to Paddock" })).toBeVisible();
    },
  },
  {
    name: "sign-in-refused",
    as: "visitor",
    open: async (page) => {
      await page.goto("/ui/");
      await page.getByRole("textbox", { name: "Username" }).fill(freshEmail("nobody"));
      await page.getByLabel("Password", { exact: true }).fill("a wrong password");
      await page.getByRole("button", { name: "Sign in" }).click();
      await expect(page.getByRole("alert")).toBeVisible();
    },
  },
  {
    name: "overview",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/overview");
      await expect(page.getByRole("heading", { name: "Overview", level: 1 })).toBeVisible();
    },
  },
  {
    name: "users",
    as: "admin",
    open: async (page, { user }) => {
      await page.goto(`/ui/users?selected=${user.id}`);
      await expect(page.getByRole("button", { name: "Revoke notebook" })).toBeVisible();
      await expect(
        page
          .getByText("Which models may", { exact: false })
          .or(page.getByRole("heading", { name: "Model access" }))
          .first(),
      ).toBeVisible();
    },
  },
  {
    name: "keys",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/keys?state=all");
      await expect(page.getByRole("button", { name: /^Open/ }).first()).toBeVisible();
    },
  },
  {
    name: "models",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/models");
      await expect(page.getByRole("button", { name: `Details ${chatModel}` })).toBeVisible();
    },
  },
  {
    name: "usage",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/usage");
      const rows = page.getByRole("region", { name: "Breakdown" }).getByRole("row");
      await expect(rows.nth(1)).toBeVisible();
    },
  },
  {
    name: "audit",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/audit");
      await expect(page.getByRole("button", { name: /^Details/ }).first()).toBeVisible();
      await expect(page.getByRole("region", { name: "Chain" })).toBeVisible();
    },
  },
  {
    name: "chat",
    as: "user",
    open: async (page) => {
      await answerWith(page, ANSWER);
      await page.goto("/ui/chat");
      await ask(page, "What is a paddock?");
      await expect(page.getByRole("log")).toContainText("35.6 tokens/s");
      await page.getByRole("button", { name: "Settings", exact: true }).click();
      await expect(page.getByRole("textbox", { name: "System prompt" })).toBeVisible();
    },
  },
  {
    name: "embeddings",
    as: "user",
    open: async (page) => {
      await page.goto("/ui/embeddings");
      await page
        .getByRole("textbox", { name: "Text" })
        .fill("The horse is in the paddock\nA pony stands in a field\nThe invoice is due");
      await page.getByRole("button", { name: "Generate" }).click();
      await expect(page.getByText("Vector length: 384")).toBeVisible({ timeout: 120_000 });
    },
  },
  {
    name: "my-usage",
    as: "user",
    open: async (page) => {
      await page.goto("/ui/my-usage");
      await expect(page.getByRole("region", { name: "Breakdown" })).toBeVisible();
      await expect(page.getByRole("region", { name: "What is left" })).toBeVisible();
    },
  },
  {
    name: "account",
    as: "user",
    open: async (page) => {
      await page.goto("/ui/account");
      await expect(page.getByRole("region", { name: "Own keys" })).toContainText("notebook");
    },
  },
  {
    name: "access-denied",
    as: "user",
    open: async (page) => {
      await page.goto("/ui/users");
      await expect(page.getByRole("heading", { name: "Access denied" })).toBeVisible();
    },
  },
  {
    name: "page-not-found",
    as: "user",
    open: async (page) => {
      await page.goto("/ui/nowhere");
      await expect(page.getByRole("heading", { name: "Page not found" })).toBeVisible();
    },
  },
];

export const DIALOGS: readonly View[] = [
  {
    name: "backend-status",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/users");
      await page.getByRole("button", { name: /^Backend status/ }).click();
      await expect(page.getByRole("dialog", { name: "Backend status" })).toBeVisible();
    },
  },
  {
    name: "command-palette",
    as: "admin",
    open: async (page, { user }) => {
      await page.goto("/ui/users");
      await page.getByRole("button", { name: /^Go to/ }).click();
      await page.getByRole("combobox", { name: "Command palette" }).fill(user.email);
      await expect(page.getByRole("option", { name: user.email })).toBeVisible();
    },
  },
  {
    name: "issue-key",
    as: "admin",
    open: async (page, { user }) => {
      await page.goto(`/ui/keys?dialog=issue&owner=${user.id}`);
      const dialog = page.getByRole("dialog", { name: "Issue a key" });
      await dialog.getByText("Models and limits").click();
      await expect(dialog.getByRole("radio", { name: "No model" })).toBeVisible();
    },
  },
  {
    name: "one-time-secret",
    as: "admin",
    open: async (page, { user }) => {
      await page.goto(`/ui/users?selected=${user.id}`);
      const panel = page.getByRole("region", { name: "Credentials" });
      await panel.getByRole("textbox", { name: "Label" }).fill("ci");
      await panel.getByRole("button", { name: "Issue", exact: true }).click();
      await expect(page.getByRole("heading", { name: "One-time secret" })).toBeVisible();
    },
  },
  keyDialog("key", undefined, "reports"),
  keyDialog("rotate-key", "rotate", "Rotate reports"),
  keyDialog("end-old-secret", "end-old", "End the old secret of reports now?"),
  keyDialog("revoke-key", "revoke", /^Revoke reports/),
  {
    name: "delete-user",
    as: "admin",
    open: async (page, { user }) => {
      await page.goto(`/ui/users?selected=${user.id}`);
      await page.getByRole("button", { name: `Delete ${user.email}` }).click();
      await page.getByRole("button", { name: "Delete user" }).click();
      await expect(page.getByRole("dialog").getByText(/differs from/)).toBeVisible();
    },
  },
  {
    name: "export",
    as: "admin",
    open: async (page, { user }) => {
      await page.goto(`/ui/users?selected=${user.id}`);
      await page.getByRole("button", { name: `Export as YAML ${user.email}` }).click();
      await expect(page.getByRole("dialog")).toContainText("kind: ApiUser");
    },
  },
  {
    name: "model",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/models");
      await page.getByRole("button", { name: `Details ${chatModel}` }).click();
      await expect(page.getByRole("dialog")).toContainText(/[0-9a-f]{64}/);
    },
  },
  {
    name: "pull-model",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/models?open=pull");
      await page.getByRole("button", { name: "Pull", exact: true }).click();
      await expect(page.getByText("A name is required", { exact: false })).toBeVisible();
    },
  },
  {
    name: "audit-event",
    as: "admin",
    open: async (page) => {
      await page.goto("/ui/audit?event=user_created");
      await page
        .getByRole("button", { name: /^Details/ })
        .first()
        .click();
      await expect(page.getByRole("dialog", { name: "User created" })).toBeVisible();
    },
  },
];

/** A dialog of the page of all keys about the rotating key of the stage. */
function keyDialog(name: string, dialog: string | undefined, title: string | RegExp): View {
  return {
    name,
    as: "admin",
    open: async (page, { rotating }) => {
      const parameter = dialog === undefined ? "" : `&dialog=${dialog}`;
      await page.goto(`/ui/keys?key=${rotating.id}${parameter}`);
      await expect(page.getByRole("dialog", { name: title })).toBeVisible();
    },
  };
}
