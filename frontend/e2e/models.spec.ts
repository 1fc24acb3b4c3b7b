import { chatModel, embeddingModel, unavailableModel } from "./support/environment.ts";
import { expect, message, test } from "./support/test.ts";

test("an admin sees each model on each backend, and follows a pull", async ({
  adminPage: page,
}) => {
  await page.goto("/ui/models");
  const models = page.getByRole("table", { name: "models" });
  for (const model of [chatModel, embeddingModel]) {
    await expect(models.getByRole("row").filter({ hasText: model })).toContainText("Present");
  }

  await test.step("details", async () => {
    await page.getByRole("button", { name: `Details ${chatModel}` }).click();
    const details = page.getByRole("dialog", { name: chatModel });
    await expect(details).toContainText(/[0-9a-f]{64}/);
    await page.keyboard.press("Escape");
    await expect(details).toBeHidden();
  });

  await test.step("search", async () => {
    await page.getByRole("textbox", { name: "Search models" }).fill(embeddingModel);
    await expect(models.getByRole("row")).toHaveCount(2);
    await page.getByRole("textbox", { name: "Search models" }).fill("");
  });

  await test.step("a pull is a job of the server: it outlives a reload", async () => {
    await page.getByRole("button", { name: "Pull a model" }).click();
    const dialog = page.getByRole("dialog", { name: "Pull a model" });
    const field = dialog.getByRole("textbox", { name: "Model" });
    await dialog.getByRole("button", { name: "Pull", exact: true }).click();
    await expect(field).toHaveAccessibleDescription(/A name is required/);
    await field.fill(unavailableModel);
    await dialog.getByRole("button", { name: "Pull", exact: true }).click();
    await expect(message(page, /^Pull of .* started$/)).toBeVisible();
    await page.reload();
    const job = page.getByRole("table", { name: "pulls" }).getByRole("row").nth(1);
    await expect(job).toContainText(unavailableModel.replace(":latest", ""));
    await expect(job).toContainText("Failed", { timeout: 120_000 });
    await expect(job).toContainText("by you");
    await expect(job.getByRole("button", { name: /^Pull again/ })).toBeVisible();
  });
});
