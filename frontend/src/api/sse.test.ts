import { describe, expect, it } from "vitest";
import { BrokenStream } from "@/api/ndjson";
import { readEvents, type StreamEvent } from "@/api/sse";

const encoder = new TextEncoder();

/** A response whose body arrives in chunks of `size` bytes; `fails` breaks the connection afterwards. */
function respond(text: string, { size = text.length, fails = false } = {}): Response {
  const bytes = encoder.encode(text);
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, at + size));
      else if (fails) controller.error(new TypeError("network error"));
      else controller.close();
      at += size;
    },
  });
  return { body } as Response;
}

async function collect(response: Response): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of readEvents(response)) events.push(event);
  return events;
}

describe("readEvents", () => {
  it("joins events that are cut anywhere", async () => {
    const stream = 'event: progress\ndata: {"a":"ü"}\n\nevent: end\ndata:1\ndata: 2\n\n';
    for (let size = 1; size <= stream.length; size += 1) {
      expect(await collect(respond(stream, { size }))).toEqual([
        { name: "progress", data: '{"a":"ü"}' },
        { name: "end", data: "1\n2" },
      ]);
    }
  });

  it("leaves out comments and an event without its end", async () => {
    const stream = ": keep alive\n\nid: 7\ndata: x\r\n\r\ndata: cut off";
    expect(await collect(respond(stream))).toEqual([{ name: "message", data: "x" }]);
  });

  it("says that the connection was lost", async () => {
    await expect(collect(respond("data: x\n\n", { fails: true }))).rejects.toThrow(BrokenStream);
  });
});
