import type { Page } from "@playwright/test";
import { chatModel } from "./environment.ts";

interface Options {
  /** Without it, the stream ends in the middle of a line. */
  isComplete?: boolean;
  thinking?: string;
}

/** Answers the page's next questions with this text instead of the model's. */
export async function answerWith(page: Page, text: string, options: Options = {}): Promise<void> {
  const { isComplete = true, thinking } = options;
  const line = (message: object) =>
    `${JSON.stringify({ model: chatModel, created_at: "2026-01-01T00:00:00Z", message, done: false })}\n`;
  const parts = text.match(/[\s\S]{1,24}/g) ?? [];
  const last = JSON.stringify({
    model: chatModel,
    created_at: "2026-01-01T00:00:01Z",
    message: { role: "assistant", content: "" },
    done: true,
    done_reason: "stop",
    total_duration: 2_000_000_000,
    load_duration: 100_000_000,
    prompt_eval_count: 31,
    prompt_eval_duration: 200_000_000,
    eval_count: 57,
    eval_duration: 1_600_000_000,
  });
  const body = [
    ...(thinking === undefined ? [] : [line({ role: "assistant", content: "", thinking })]),
    ...parts.map((content) => line({ role: "assistant", content })),
    isComplete ? `${last}\n` : last.slice(0, 40),
  ].join("");
  await page.route("**/api/chat", (route) =>
    route.fulfill({ status: 200, contentType: "application/x-ndjson", body }),
  );
}

/** Asks a question in the chat page that is open. */
export async function ask(page: Page, prompt: string): Promise<void> {
  await page.getByRole("textbox", { name: "Prompt" }).fill(prompt);
  await page.getByRole("button", { name: "Send" }).click();
}
