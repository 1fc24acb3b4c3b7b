import { describe, expect, it } from "vitest";
import { BrokenStream, readNdjson } from "@/api/ndjson";

const encoder = new TextEncoder();

/** A response whose body arrives in these chunks; `fails` breaks the connection afterwards. */
function respond(chunks: Uint8Array[], { fails = false } = {}) {
  let isCancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk !== undefined) controller.enqueue(chunk);
      else if (fails) controller.error(new TypeError("network error"));
      else controller.close();
    },
    cancel() {
      isCancelled = true;
    },
  });
  return { response: { body } as Response, isCancelled: () => isCancelled };
}

async function collect(response: Response): Promise<unknown[]> {
  const lines: unknown[] = [];
  for await (const line of readNdjson(response)) lines.push(line);
  return lines;
}

describe("readNdjson", () => {
  it("joins lines that are cut anywhere, also inside a character", async () => {
    const bytes = encoder.encode('{"a":"ü€😀"}\n\n{"b":2}\r\n{"c":3}');
    for (let size = 1; size <= bytes.length; size += 1) {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
      expect(await collect(respond(chunks).response)).toEqual([{ a: "ü€😀" }, { b: 2 }, { c: 3 }]);
    }
  });

  it("yields a line before the next one arrives", async () => {
    const { response } = respond([encoder.encode('{"a":1}\n'), encoder.encode('{"b":2}\n')]);
    const lines = readNdjson(response);
    expect((await lines.next()).value).toEqual({ a: 1 });
  });

  it("throws BrokenStream after the complete lines if the connection is lost", async () => {
    const { response } = respond([encoder.encode('{"a":1}\n{"b"')], { fails: true });
    const lines = readNdjson(response);
    expect((await lines.next()).value).toEqual({ a: 1 });
    await expect(lines.next()).rejects.toBeInstanceOf(BrokenStream);
  });

  it("throws BrokenStream if the last line is not complete", async () => {
    const { response } = respond([encoder.encode('{"a":')]);
    await expect(collect(response)).rejects.toBeInstanceOf(BrokenStream);
  });

  it("cancels the response if the loop is left early", async () => {
    const { response, isCancelled } = respond([encoder.encode("1\n2\n"), encoder.encode("3\n")]);
    for await (const line of readNdjson(response)) if (line === 1) break;
    expect(isCancelled()).toBe(true);
  });
});
