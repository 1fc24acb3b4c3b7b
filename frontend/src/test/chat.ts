import { screen, waitFor } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { expect } from "vitest";
import { aProfile } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { server } from "@/test/server";

/** The last line of a complete answer. */
export const LAST = {
  message: { content: "" },
  done: true,
  done_reason: "stop",
  prompt_eval_count: 12,
  eval_count: 40,
  eval_duration: 2_000_000_000,
  total_duration: 3_000_000_000,
};

/** A line with a part of an answer. */
export const says = (content: string) => ({ message: { role: "assistant", content }, done: false });

interface Body {
  model: string;
  messages: { role: string; content: string; images?: string[] }[];
  options?: object;
}

/** An Ollama whose answers the test writes line by line. */
export function serveChat() {
  const bodies: Body[] = [];
  let stream: ReadableStreamDefaultController<Uint8Array>;
  let isCancelled = false;
  server.use(
    http.post("*/api/chat", async ({ request }) => {
      bodies.push((await request.json()) as Body);
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          stream = controller;
        },
      });
      request.signal.addEventListener("abort", () => {
        isCancelled = true;
      });
      return new HttpResponse(body, { headers: { "Content-Type": "application/x-ndjson" } });
    }),
  );
  return {
    bodies,
    isCancelled: () => isCancelled,
    write: async (line: object) => {
      await waitFor(() => expect(stream).toBeDefined());
      stream.enqueue(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
    },
    end: () => stream.close(),
    breakOff: () => stream.error(new TypeError("network error")),
  };
}

/** The models that the user may use. */
export function serveModels(...names: string[]) {
  server.use(
    http.get("*/api/tags", () => HttpResponse.json({ models: names.map((name) => ({ name })) })),
    http.post("*/api/show", () => HttpResponse.json({ capabilities: ["completion"] })),
  );
}

/** Opens the chat as a user who is no admin. */
export async function openChat(path = "/chat") {
  const app = await renderApp(path, { as: aProfile({ roles: ["user"] }) });
  const prompt = await screen.findByRole("textbox", { name: "Prompt" });
  return { ...app, prompt, log: screen.getByRole("log", { name: "Conversation" }) };
}
