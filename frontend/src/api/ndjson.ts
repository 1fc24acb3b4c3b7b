/** A stream that ended in the middle of a line, or whose line is not JSON. */
export class BrokenStream extends Error {
  override readonly name = "BrokenStream";
}

/**
 * Reads newline-delimited JSON as it arrives. Lines may be cut anywhere, also inside a character.
 * Aborting the request's signal rejects the next value with `AbortError`; leaving the loop early
 * cancels the response. Throws `BrokenStream` if the connection is lost.
 */
export async function* readNdjson<Line>(response: Response): AsyncGenerator<Line, void, void> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await readChunk(reader);
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split("\n");
      rest = done ? "" : (lines.pop() ?? "");
      for (const line of lines) if (line.trim() !== "") yield parse<Line>(line);
      if (done) return;
    }
  } finally {
    // Rejects only if the stream has failed, which the loop has reported.
    await reader.cancel().catch(() => undefined);
  }
}

/** The next part of a body. Throws `AbortError` after an abort, else `BrokenStream`. */
export async function readChunk(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>) {
  try {
    return await reader.read();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new BrokenStream("the connection was lost", { cause: error });
  }
}

function parse<Line>(line: string): Line {
  try {
    return JSON.parse(line) as Line;
  } catch (error) {
    throw new BrokenStream("the stream ended in the middle of a line", { cause: error });
  }
}
