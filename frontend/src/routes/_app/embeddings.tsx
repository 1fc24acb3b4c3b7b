import { createFileRoute } from "@tanstack/react-router";
import { EmbeddingsPage } from "@/features/embeddings/Page";
import type { EmbeddingsSearch } from "@/features/embeddings/search";
import { compact, oneOf, positive, text } from "@/lib/search";

export const Route = createFileRoute("/_app/embeddings")({
  staticData: { page: "embeddings" },
  validateSearch: (search): EmbeddingsSearch =>
    compact({
      model: text(search.model),
      as: oneOf(["one"], search.as),
      text: positive(search.text),
    }),
  component: EmbeddingsRoute,
});

function EmbeddingsRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <EmbeddingsPage
      search={search}
      onSearch={(change) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), replace: true })
      }
    />
  );
}
