import type { PreparedImage } from "@/features/chat/images";
import type { Settings } from "@/features/chat/settings";

/** What a person asked. */
export interface Question {
  role: "user";
  id: number;
  text: string;
  images: readonly PreparedImage[];
}

/** What the model answered so far. */
export interface Answer {
  role: "assistant";
  id: number;
  model: string;
  text: string;
  thinking: string;
  /** How long the model thought before the first word of its answer, in milliseconds. */
  thinkingTime: number | undefined;
  state: "waiting" | "streaming" | "done" | "stopped" | "failed";
  /** Why the answer failed. The text that had arrived is kept. */
  error: unknown;
  /** The parts that have arrived. Each is about one token. */
  parts: number;
  counts: Counts | undefined;
}

export type Turn = Question | Answer;

/** What Ollama reports at the end of an answer. */
export interface Counts {
  promptTokens: number;
  answerTokens: number;
  /** Undefined if Ollama reports no duration. */
  tokensPerSecond: number | undefined;
  /** From the request to the end, in seconds. */
  seconds: number;
  /** Whether the answer ended because it reached the maximum of tokens. */
  isCutOff: boolean;
}

/** A line of the stream of `POST /api/chat`, as far as it is used. */
export interface ChatLine {
  message?: { content?: string; thinking?: string };
  done?: boolean;
  done_reason?: string;
  error?: string;
  total_duration?: number;
  prompt_eval_count?: number;
  eval_count?: number;
  eval_duration?: number;
}

const NANOSECONDS = 1e9;

export function countsOf(line: ChatLine): Counts {
  const { eval_count = 0, eval_duration = 0 } = line;
  return {
    promptTokens: line.prompt_eval_count ?? 0,
    answerTokens: eval_count,
    tokensPerSecond: eval_duration > 0 ? (eval_count / eval_duration) * NANOSECONDS : undefined,
    seconds: (line.total_duration ?? 0) / NANOSECONDS,
    isCutOff: line.done_reason === "length",
  };
}

/** The body of `POST /api/chat` for these turns. Answers without text are left out. */
export function requestBody(model: string, turns: readonly Turn[], settings: Settings) {
  const { system = "", temperature, topP, seed, maxTokens, thinking } = settings;
  const options = { temperature, top_p: topP, seed, num_predict: maxTokens };
  const hasOptions = Object.values(options).some((value) => value !== undefined);
  return {
    model,
    messages: [
      ...(system.trim() === "" ? [] : [{ role: "system", content: system }]),
      ...turns.flatMap(toMessage),
    ],
    stream: true,
    ...(hasOptions && { options }),
    ...(thinking !== undefined && { think: thinking === "on" }),
  };
}

interface Message {
  role: "user" | "assistant";
  content: string;
  images?: string[];
}

function toMessage(turn: Turn): Message[] {
  if (turn.role === "assistant") {
    return turn.text === "" ? [] : [{ role: turn.role, content: turn.text }];
  }
  const images = turn.images.map((image) => image.base64);
  return [{ role: turn.role, content: turn.text, ...(images.length > 0 && { images }) }];
}
