import { waitFor } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { expect } from "vitest";
import type { Model, ModelBackend, Models, Pull } from "@/features/models/queries";
import { page, server } from "@/test/server";

/** Two backends. */
export const ONE = "http://ollama-1:11434";
export const TWO = "http://ollama-2:11434";

export function onBackend(url: string, parts: Partial<ModelBackend> = {}): ModelBackend {
  return {
    url,
    reachable: true,
    present: true,
    digest: "sha256:aaaaaaaaaaaabbbb",
    size_bytes: 98_362_745,
    loaded: false,
    loaded_until: null,
    vram_bytes: null,
    ...parts,
  };
}

export function aModel(name: string, parts: Partial<Model> = {}): Model {
  return {
    name,
    model: `registry.ollama.ai/library/${name}`,
    managed_by: [],
    pull: null,
    backends: [onBackend(ONE), onBackend(TWO)],
    ...parts,
  };
}

export function aPull(parts: Partial<Pull> = {}): Pull {
  return {
    job: 1,
    model: "registry.ollama.ai/library/phi4:latest",
    state: "running",
    percent: 41,
    completed_bytes: 41_000_000,
    total_bytes: 100_000_000,
    bytes_per_second: 5_900_000,
    status: "pulling aaaa",
    reason: null,
    user_id: 1,
    credential_id: null,
    created_at: "2026-11-01T10:00:00Z",
    started_at: "2026-11-01T10:00:01Z",
    finished_at: null,
    ...parts,
  };
}

export function serveModels(
  models: Model[],
  backends: Partial<Models["backends"][number]>[] = [{}, {}],
) {
  const urls = [ONE, TWO];
  const rows = backends.map((parts, index) => ({
    url: urls[index] ?? ONE,
    reachable: true,
    error: null,
    ...parts,
  }));
  server.use(http.get("*/models", () => HttpResponse.json({ backends: rows, models })));
}

export function servePulls(...pulls: Pull[]) {
  server.use(http.get("*/models/pull", () => page(pulls)));
}

/** The events of a pull, written by the test. */
export function serveEvents(job: number) {
  let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  let opened = 0;
  server.use(
    http.get(`*/models/pull/${job}/events`, () => {
      opened += 1;
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          stream = controller;
        },
      });
      return new HttpResponse(body, { headers: { "Content-Type": "text/event-stream" } });
    }),
  );
  return {
    opened: () => opened,
    write: async (name: string, pull: Pull) => {
      await waitFor(() => expect(stream).toBeDefined());
      const event = `event: ${name}\ndata: ${JSON.stringify(pull)}\n\n`;
      stream?.enqueue(new TextEncoder().encode(event));
      if (name === "end") stream?.close();
    },
    breakOff: () => stream?.error(new TypeError("network error")),
  };
}
