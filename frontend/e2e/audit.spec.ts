import { readFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { call, freshEmail } from "./support/api.ts";
import { expect, test } from "./support/test.ts";

test("an admin finds out who was refused and why, and exports exactly that", async ({
  adminPage: page,
  api,
}) => {
  const email = freshEmail("refused");
  await api.createUser({ email });
  const attempt = await call(
    "POST",
    "/auth/login",
    undefined,
    { username: email, password: "a wrong password" },
    { "User-Agent": "curl/8.9.1" },
  );
  expect(attempt.status).toBe(401);

  await page.goto("/ui/audit");
  await load(page, "login_failure");
  await expect(page).toHaveURL(/event=login_failure/);
  const row = page.getByRole("row").filter({ hasText: email });
  await expect(row).toContainText("Sign-in failed");
  await expect(row).toContainText("curl");

  await test.step("the filter is in the address", async () => {
    await page.reload();
    await expect(page.getByRole("combobox", { name: EVENT_TYPE })).toHaveValue("login_failure");
    await expect(row).toBeVisible();
    await expect(page.getByRole("row").filter({ hasText: "User created" })).toHaveCount(0);
  });

  await test.step("an event has details, and an address of its own", async () => {
    await row.getByRole("button").click();
    const dialog = page.getByRole("dialog", { name: "Sign-in failed" });
    await expect(dialog).toContainText("127.0.0.1");
    await expect(dialog).toContainText("curl/8.9.1");
    await page.reload();
    await expect(dialog).toContainText("login_failure");
    await page.keyboard.press("Escape");
    await expect(dialog).toBeHidden();
  });

  await test.step("the export has the rows of the filter, and no others", async () => {
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export CSV" }).click();
    const csv = await readFile(await (await download).path(), "utf8");
    const [head = "", ...rows] = csv.trim().split("\n");
    expect(head).toContain("event_type");
    expect(rows.some((each) => each.includes(email))).toBe(true);
    expect(rows.every((each) => each.includes("login_failure"))).toBe(true);
  });
});

test("Limit, empty results and wrong filters", async ({ adminPage: page, api }) => {
  await api.createUser();
  await page.goto("/ui/audit");
  const limit = page.getByRole("spinbutton", { name: "Limit" });
  const events = page.getByRole("table", { name: "events" }).getByRole("row");

  await limit.fill("2");
  await page.getByRole("button", { name: "Load" }).click();
  // The head and two events.
  await expect(events).toHaveCount(3);
  const newest = (await events.nth(1).textContent()) ?? "";
  await page.getByRole("button", { name: "Older" }).click();
  await expect(events.nth(1)).not.toHaveText(newest);
  await expect(events).toHaveCount(3);
  await page.goBack();
  await expect(events.nth(1)).toHaveText(newest);

  await limit.fill("501");
  await page.getByRole("button", { name: "Load" }).click();
  await expect(limit).toHaveAccessibleDescription(/1 to 500/);

  await page.goto("/ui/audit?since=2001-01-01&until=2001-01-02");
  await expect(page.getByText("No records")).toBeVisible();
  await page.getByRole("button", { name: "Clear filters" }).first().click();
  await expect(events.nth(1)).toBeVisible();
});

test("the state of the chain is on the page", async ({ adminPage: page }) => {
  await page.goto("/ui/audit");
  const chain = page.getByRole("region", { name: "Chain" });
  await expect(chain).toContainText(/Verified up to row \d+/, { timeout: 60_000 });
  await expect(chain.getByRole("button", { name: "Copy the head hash" })).toBeVisible();
});

const EVENT_TYPE = "Filter by event type";

async function load(page: Page, eventType: string): Promise<void> {
  await page.getByRole("combobox", { name: EVENT_TYPE }).fill(eventType);
  await page.getByRole("button", { name: "Load" }).click();
}
