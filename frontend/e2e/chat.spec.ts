import { chatModel } from "./support/environment.ts";
import { answerWith, ask } from "./support/streams.ts";
import { expect, signIn, test } from "./support/test.ts";

test("a user asks the model, stops an answer, and goes on", async ({ page, context, api }) => {
  const user = await api.createUser();
  await signIn(context, user);
  await page.goto("/ui/chat");
  await page.getByRole("combobox", { name: "Model" }).selectOption(chatModel);
  const log = page.getByRole("log", { name: "Conversation" });

  await test.step("an answer arrives as it is written", async () => {
    const seen: number[] = [];
    await page.getByRole("textbox", { name: "Prompt" }).fill("Tell a long story of a horse.");
    await page.keyboard.press("Enter");
    const answer = log.getByRole("article").last();
    await expect(answer).toContainText(/about \d+ tokens/, { timeout: 120_000 });
    await expect
      .poll(async () => {
        seen.push((await answer.textContent())?.length ?? 0);
        return new Set(seen).size;
      })
      .toBeGreaterThan(3);
  });

  await test.step("Stop keeps the text, here and on the other pages", async () => {
    await page.getByRole("button", { name: "Stop" }).click();
    await expect(log.getByText("Stopped. What had arrived is kept.")).toBeVisible();
    await expect(page.getByRole("button", { name: "Send" })).toBeVisible();
    const answer = log.getByRole("article").last();
    const kept = (await answer.textContent()) ?? "";
    expect(kept.length).toBeGreaterThan(chatModel.length + 10);
    await page.getByRole("link", { name: "Embeddings" }).click();
    await expect(page.getByRole("heading", { name: "Embeddings", level: 1 })).toBeVisible();
    await page.getByRole("link", { name: "Ollama chat" }).click();
    await expect(answer).toHaveText(kept);
  });

  await test.step("a whole answer ends with its speed", async () => {
    await page.getByRole("button", { name: "Settings", exact: true }).click();
    await page.getByRole("textbox", { name: "Max tokens" }).fill("12");
    await page.getByRole("button", { name: "Close the settings" }).click();
    await page.getByRole("textbox", { name: "Prompt" }).fill("Say hello.");
    await page.getByRole("button", { name: "Send" }).click();
    const answer = log.getByRole("article").last();
    await expect(answer).toContainText(/\d+\.\d tokens\/s/, { timeout: 120_000 });
    await expect(answer).toContainText(/\d+ tokens? in the answer/);
  });

  await test.step("the gateway has counted both requests", async () => {
    const today = new Date().toISOString().slice(0, 10);
    await expect
      .poll(async () => {
        const rows = await api.json<{ requests: number }[]>(
          "GET",
          `/usage?from=${today}&group_by=user&user_id=${user.id}`,
        );
        return rows.reduce((sum, { requests }) => sum + requests, 0);
      })
      .toBe(2);
  });
});

test("an answer is shown as text, with code to copy and thoughts to open", async ({
  adminPage: page,
}) => {
  await answerWith(
    page,
    "## Two ways\n\n1. **Wait**\n2. Ask\n\n```sh\ncurl http://localhost\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    { thinking: "Which ways are there?" },
  );
  await page.goto("/ui/chat");
  await ask(page, "What can I do?");
  const answer = page.getByRole("log").getByRole("article").last();
  await expect(answer.getByText("Two ways", { exact: true })).toBeVisible();
  await expect(answer.getByRole("listitem").filter({ hasText: "Wait" })).toBeVisible();
  await expect(answer.getByRole("cell", { name: "2" })).toBeVisible();
  await answer.getByText(/^Thought/).click();
  await expect(answer.getByText("Which ways are there?")).toBeVisible();
  await expect(answer).toContainText("35.6 tokens/s");
});

test("without a list of models, the field takes a name and says why", async ({
  page,
  context,
  api,
}) => {
  const user = await api.createUser({ models: [] });
  await signIn(context, user);
  await page.goto("/ui/chat");
  const field = page.getByRole("textbox", { name: "Model" });
  await expect(field).toHaveAccessibleDescription(/You may use no model/);
  await field.fill(chatModel);
  await ask(page, "Hello?");
  await expect(page.getByRole("log").getByRole("alert")).toBeVisible();
});
