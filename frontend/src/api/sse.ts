import { readChunk } from "@/api/ndjson";

/** One event of a server-sent stream. */
export interface StreamEvent {
  /** `message` unless the server names it. */
  name: string;
  data: string;
}

/**
 * Reads server-sent events (`text/event-stream`) as they arrive. `EventSource` cannot send the
 * access token. Aborting the request's signal rejects the next event with `AbortError`; leaving the
 * loop early cancels the response. Throws `BrokenStream` if the connection is lost.
 */
export async function* readEvents(response: Response): AsyncGenerator<StreamEvent, void, void> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await readChunk(reader);
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const blocks = rest.split(/\r\n\r\n|\n\n|\r\r/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parse(block);
        if (event !== undefined) yield event;
      }
    }
  } finally {
    // Rejects only if the stream has failed, which the loop has reported.
    await reader.cancel().catch(() => undefined);
  }
}

/** A block without data, such as a comment that keeps the connection alive, is no event. */
function parse(block: string): StreamEvent | undefined {
  let name = "message";
  const data: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (field === "event") name = value;
    if (field === "data") data.push(value);
  }
  return data.length === 0 ? undefined : { name, data: data.join("\n") };
}
