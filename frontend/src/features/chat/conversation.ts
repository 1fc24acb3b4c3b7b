import { useSyncExternalStore } from "react";
import { send } from "@/api/client";
import { BrokenStream, readNdjson } from "@/api/ndjson";
import { ApiError } from "@/api/problem";
import { onSessionChange, sessionState } from "@/api/session";
import type { PreparedImage } from "@/features/chat/images";
import { NO_FIELDS, readSettings, type SettingsFields } from "@/features/chat/settings";
import {
  type Answer,
  type ChatLine,
  countsOf,
  requestBody,
  type Turn,
} from "@/features/chat/turns";

/**
 * The conversation of this tab. It survives navigation, and an answer continues to arrive on other
 * pages. It is in memory only, belongs to one user, and ends when that user signs out.
 */
export interface Conversation {
  /** The id of the user. */
  owner: number | undefined;
  turns: readonly Turn[];
  /** The settings as typed. A text that is no valid value must not be sent. */
  fields: SettingsFields;
  /** The text of the prompt that is not sent yet. */
  draft: string;
  images: readonly PreparedImage[];
}

const EMPTY: Conversation = {
  owner: undefined,
  turns: [],
  fields: NO_FIELDS,
  draft: "",
  images: [],
};

const listeners = new Set<() => void>();
let current = EMPTY;
let lastId = 0;
let running: AbortController | undefined;

onSessionChange(() => {
  if (sessionState() === "signed-out") reset();
});

/** The conversation of the user with this id. */
export function useConversation(owner: number): Conversation {
  const conversation = useSyncExternalStore(subscribe, () => current);
  return conversation.owner === owner ? conversation : EMPTY;
}

export function changeConversation(
  owner: number,
  change: Partial<Pick<Conversation, "fields" | "draft" | "images">>,
): void {
  update({ ...of(owner), ...change });
}

/** Whether the last answer is still arriving. */
export function isAnswering({ turns }: Conversation): boolean {
  const last = turns.at(-1);
  return last?.role === "assistant" && (last.state === "waiting" || last.state === "streaming");
}

/** Sends the draft with its images. */
export function ask(owner: number, model: string): void {
  const { turns, draft, images, ...rest } = of(owner);
  lastId += 1;
  const question: Turn = { role: "user", id: lastId, text: draft, images };
  update({ ...rest, turns: [...turns, question], draft: "", images: [] });
  void answer(model);
}

/** Asks the last question again. The former answer goes. */
export function retry(model: string): void {
  const { turns } = current;
  update({ ...current, turns: turns.at(-1)?.role === "assistant" ? turns.slice(0, -1) : turns });
  void answer(model);
}

/** Stops the answer that is arriving, here and at Ollama. Its text stays. */
export function stop(): void {
  running?.abort();
}

/** Begins a new conversation with the same settings. */
export function clear(): void {
  stop();
  update({ ...current, turns: [], draft: "", images: [] });
}

function reset(): void {
  stop();
  update(EMPTY);
}

function of(owner: number): Conversation {
  if (current.owner === owner) return current;
  stop();
  return { ...EMPTY, owner };
}

async function answer(model: string): Promise<void> {
  const { turns, fields } = current;
  const { settings } = readSettings(fields);
  const controller = new AbortController();
  running = controller;
  lastId += 1;
  const live = new LiveAnswer(lastId, model);
  // Shown at once, however long the connection takes to close.
  controller.signal.addEventListener("abort", () => live.end("stopped"));
  try {
    const response = await send("/api/chat", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(requestBody(model, turns, settings)),
      signal: controller.signal,
    });
    let isComplete = false;
    for await (const line of readNdjson<ChatLine>(response)) {
      if (line.error !== undefined) throw streamError(line.error);
      live.add(line);
      isComplete ||= line.done === true;
    }
    if (!isComplete) throw new BrokenStream("the stream ended before its last line");
    live.end("done");
  } catch (error) {
    live.end("failed", error);
  } finally {
    if (running === controller) running = undefined;
  }
}

/**
 * An answer while it arrives. It is shown at most once per frame, however many parts arrive. Once it
 * has ended, nothing changes it.
 */
class LiveAnswer {
  #answer: Answer;
  #frame: number | undefined;
  #hasEnded = false;
  readonly #started = performance.now();

  constructor(id: number, model: string) {
    this.#answer = {
      role: "assistant",
      id,
      model,
      text: "",
      thinking: "",
      thinkingTime: undefined,
      state: "waiting",
      error: undefined,
      parts: 0,
      counts: undefined,
    };
    update({ ...current, turns: [...current.turns, this.#answer] });
  }

  add(line: ChatLine): void {
    if (this.#hasEnded) return;
    const { content = "", thinking = "" } = line.message ?? {};
    const former = this.#answer;
    const isFirstWord = former.text === "" && content !== "" && former.thinking !== "";
    this.#answer = {
      ...former,
      text: former.text + content,
      thinking: former.thinking + thinking,
      thinkingTime: isFirstWord ? performance.now() - this.#started : former.thinkingTime,
      state: "streaming",
      parts: former.parts + (content === "" && thinking === "" ? 0 : 1),
      counts: line.done === true ? countsOf(line) : former.counts,
    };
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#show();
    });
  }

  end(state: Answer["state"], error?: unknown): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#answer = { ...this.#answer, state, error };
    this.#show();
  }

  /** A conversation that was cleared in the meantime no longer has the answer. */
  #show(): void {
    const { id } = this.#answer;
    if (!current.turns.some((turn) => turn.id === id)) return;
    const turns = current.turns.map((turn) => (turn.id === id ? this.#answer : turn));
    update({ ...current, turns });
  }
}

/** Ollama's own failure after the stream had begun. */
function streamError(detail: string): ApiError {
  return new ApiError({
    kind: "broken-stream",
    status: 502,
    title: "The answer broke off",
    detail,
  });
}

function update(to: Conversation): void {
  current = to;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
