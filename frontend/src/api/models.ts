import { queryOptions } from "@tanstack/react-query";
import { client, unwrap } from "@/api/client";

/** The names of the models that a backend has, as Ollama prints them; for admins. */
export const modelNamesQuery = queryOptions({
  queryKey: ["models", "names"],
  queryFn: async ({ signal }) => {
    const { models } = await unwrap(client.GET("/models", { signal }));
    return models.map((model) => model.name);
  },
  staleTime: 30_000,
});
