import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { setInterval } from "node:timers/promises";

/** How often a part of the answer is sent, in milliseconds, and how many tokens it has. */
const STREAM_INTERVAL = 25;
const TOKENS_PER_INTERVAL = 25;

/** Paragraphs, a list, code and a table, in tokens of four characters. */
const SECTION = `## Section

Paddock keeps **horses** in, and others out. It does the same for models: each program has its own key, and \`a key\` can do what its owner may do, or less. [More](https://example.com) of it follows.

1. The first step reads the request, and counts it.
2. The second step asks the model, and streams the answer.
   - Nothing is stored in between.

\`\`\`rust
fn admit(request: &Request, limits: &Limits) -> Result<Permit, Refusal> {
    let left = limits.left(request.user())?;
    if left.requests == 0 {
        return Err(Refusal::new("requests_per_minute", left.resets_at));
    }
    Ok(Permit::new(request, left))
}
\`\`\`

| Role | May | Limit |
| --- | --- | --- |
| user | use models | 60 requests a minute |
| admin | do everything | none |

`;

/** An Ollama with one model that answers every chat with this many tokens, 1000 in a second. */
export async function serveScriptedOllama(port: number, model: string, tokens: number) {
  const details = { family: "llama", families: ["llama"], format: "gguf", parameter_size: "135M" };
  const installed = { name: model, model, digest: "0".repeat(64), size: 1e8, details };
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    request.resume();
    if (path === "/api/chat") void stream(response, model, tokens);
    else if (path === "/api/version") answer(response, { version: "0.32.0" });
    else if (path === "/api/tags") answer(response, { models: [installed] });
    else if (path === "/api/ps") answer(response, { models: [] });
    else if (path === "/api/show") answer(response, { details, capabilities: ["completion"] });
    else response.writeHead(404).end();
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

function answer(response: ServerResponse, body: object): void {
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

async function stream(response: ServerResponse, model: string, tokens: number): Promise<void> {
  const created_at = "2026-01-01T00:00:00Z";
  const parts = SECTION.match(/[\s\S]{1,4}/g) ?? [];
  const line = (fields: object) => `${JSON.stringify({ model, created_at, ...fields })}\n`;
  const part = (index: number) => {
    const content = parts[index % parts.length];
    return line({ message: { role: "assistant", content }, done: false });
  };
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  let sent = 0;
  for await (const _ of setInterval(STREAM_INTERVAL)) {
    const next = Math.min(tokens, sent + TOKENS_PER_INTERVAL);
    response.write(Array.from({ length: next - sent }, (_, index) => part(sent + index)).join(""));
    sent = next;
    if (sent === tokens || response.closed) break;
  }
  const message = { role: "assistant", content: "" };
  const counts = { prompt_eval_count: 31, eval_count: tokens, eval_duration: tokens * 1e6 };
  response.end(line({ message, done: true, done_reason: "stop", total_duration: 1e9, ...counts }));
}
