import { embeddingModel } from "./support/environment.ts";
import { expect, test } from "./support/test.ts";

test("a text becomes a vector, and several texts are compared", async ({ adminPage: page }) => {
  await page.goto("/ui/embeddings");
  await page.getByRole("combobox", { name: "Model" }).selectOption(embeddingModel);
  const text = page.getByRole("textbox", { name: "Text" });
  const generate = page.getByRole("button", { name: "Generate" });
  await generate.click();
  await expect(text).toHaveAccessibleDescription(/A text is required/);

  await text.fill("The horse is in the paddock");
  await generate.click();
  await expect(page.getByText("Vector length: 384")).toBeVisible({ timeout: 120_000 });

  await text.fill("The horse is in the paddock\nA pony stands in a field\nThe invoice is due");
  await generate.click();
  const pairs = page.getByRole("table", { name: "pairs of texts" }).getByRole("row");
  // The head and three pairs, the most alike first.
  await expect(pairs).toHaveCount(4);
  await expect(pairs.nth(1)).toContainText("A pony stands in a field");
  await expect(pairs.nth(1)).toContainText("The horse is in the paddock");
  await page.getByRole("combobox", { name: "Show pairs of" }).selectOption({ index: 3 });
  await expect(pairs).toHaveCount(3);
});
