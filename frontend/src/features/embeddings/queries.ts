import { useMutation } from "@tanstack/react-query";
import { send } from "@/api/client";
import { ApiError } from "@/api/problem";

export interface Embedding {
  text: string;
  vector: readonly number[];
}

export interface Embeddings {
  model: string;
  rows: readonly Embedding[];
  /** The tokens of all texts; undefined if Ollama does not say. */
  tokens: number | undefined;
}

interface Request {
  model: string;
  texts: readonly string[];
}

interface Response {
  embeddings?: number[][];
  prompt_eval_count?: number;
}

/** Turns texts into vectors, by the gateway's own `POST /api/embed`. */
export function useEmbed() {
  return useMutation({
    mutationFn: async ({ model, texts }: Request): Promise<Embeddings> => {
      const response = await send("/api/embed", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ model, input: texts }),
      });
      const { embeddings = [], prompt_eval_count } = (await response.json()) as Response;
      if (embeddings.length !== texts.length) throw incomplete(embeddings.length, texts.length);
      const rows = texts.map((text, index) => ({ text, vector: embeddings[index] ?? [] }));
      return { model, rows, tokens: prompt_eval_count };
    },
  });
}

function incomplete(got: number, wanted: number): ApiError {
  const detail = `Ollama answered with ${got} vectors for ${wanted} texts`;
  return new ApiError({ kind: "incomplete", status: 502, title: "Incomplete answer", detail });
}
