import { readFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { type Account, type Api, chatWith } from "./support/api.ts";
import { chatModel } from "./support/environment.ts";
import { expect, signIn, test } from "./support/test.ts";

/** The tokens of one request, as Ollama counted them. */
interface Tokens {
  prompt: number;
  completion: number;
}

test("an admin finds out who used how much", async ({ adminPage: page, api }) => {
  const user = await api.createUser();
  const { prompt, completion } = await useModel(api, user);

  await page.goto(`/ui/usage?range=today&user=${user.id}`);
  const chip = page.getByText(`User: ${user.email}`);
  await expect(chip).toBeVisible();
  const row = rowOf(page, user.email);
  await expect(row).toContainText(String(prompt + completion));
  await expect(row.getByRole("cell").nth(3)).toHaveText(String(prompt));
  await expect(row.getByRole("cell").nth(4)).toHaveText(String(completion));

  await test.step("by key, then by model", async () => {
    await page.getByRole("button", { name: user.email, exact: true }).click();
    await expect(rowOf(page, "reports")).toContainText(String(prompt + completion));
    await expect(page).toHaveURL(/by=key/);
    await page.getByRole("radio", { name: "Model" }).check();
    await expect(rowOf(page, chatModel)).toContainText(String(prompt + completion));
  });

  await test.step("the CSV has the same rows", async () => {
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download CSV" }).click();
    const csv = await readFile(await (await download).path(), "utf8");
    expect(csv.trim().split("\n")).toHaveLength(2);
    expect(csv).toContain(String(prompt));
  });

  await test.step("yesterday was nothing", async () => {
    await page.getByRole("radio", { name: "Yesterday" }).check();
    await expect(page.getByText("No usage in this range").first()).toBeVisible();
    await page.getByRole("button", { name: /^Remove the filter User/ }).click();
    await expect(chip).toBeHidden();
  });
});

test("a user sees the own usage and what is left", async ({ page, context, api }) => {
  const user = await api.createUser({ limits: { requests_per_minute: 500 } });
  const { prompt, completion } = await useModel(api, user);
  await signIn(context, user);
  await page.goto("/ui/my-usage");
  await expect(page.getByRole("heading", { name: "My usage" })).toBeVisible();
  await expect(page.getByRole("region", { name: "What is left" })).toContainText("of 500 left");
  await expect(rowOf(page, "reports")).toContainText(String(prompt + completion));
});

function rowOf(page: Page, name: string) {
  return page.getByRole("region", { name: "Breakdown" }).getByRole("row").filter({ hasText: name });
}

/** Lets the user ask the model once, and waits until the request is counted. */
async function useModel(api: Api, user: Account): Promise<Tokens> {
  const key = await api.createKey(user.id, { label: "reports" });
  const answer = (await (await chatWith(key.secret)).json()) as {
    prompt_eval_count: number;
    eval_count: number;
  };
  const today = new Date().toISOString().slice(0, 10);
  await expect
    .poll(() => api.json("GET", `/usage?from=${today}&group_by=user&user_id=${user.id}`))
    .toHaveLength(1);
  return { prompt: answer.prompt_eval_count, completion: answer.eval_count };
}
