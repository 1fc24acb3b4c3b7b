import { queryOptions } from "@tanstack/react-query";
import { send } from "@/api/client";
import { isNamedForEmbeddings } from "@/lib/models";

/** What a model is good for, as far as Ollama says. */
export type Capability = "completion" | "embedding" | "vision" | "thinking" | "tools" | "insert";

/** A model that the signed-in user may use. */
export interface OwnModel {
  name: string;
  /** Whether the model gives vectors instead of answers. */
  isEmbedder: boolean;
}

interface Tags {
  models?: { name: string; capabilities?: string[]; details?: { family?: string } }[] | null;
}

/** The models that the gateway lets the signed-in user use, in Ollama's order: newest first. */
export const ownModelsQuery = queryOptions({
  queryKey: ["own-models"],
  queryFn: async ({ signal }): Promise<OwnModel[]> => {
    const { models } = (await (await send("/api/tags", { signal })).json()) as Tags;
    return (models ?? []).map(({ name, capabilities = [], details }) => ({
      name,
      // The list says of models for embeddings too that they complete texts.
      isEmbedder:
        capabilities.includes("embedding") ||
        /bert/i.test(details?.family ?? "") ||
        isNamedForEmbeddings(name),
    }));
  },
  staleTime: 30_000,
});

/** What one model can do. Null: Ollama does not say. */
export function capabilitiesQuery(model: string) {
  return queryOptions({
    queryKey: ["own-models", "capabilities", model],
    queryFn: async ({ signal }): Promise<Capability[] | null> => {
      const response = await send("/api/show", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ model }),
        signal,
      });
      const { capabilities } = (await response.json()) as { capabilities?: Capability[] | null };
      return capabilities ?? null;
    },
    enabled: model !== "",
    retry: false,
    staleTime: 300_000,
  });
}
