import { createFileRoute } from "@tanstack/react-router";
import { ModelsPage } from "@/features/models/Page";
import { type ModelsSearch, SHOWN } from "@/features/models/search";
import { compact, oneOf, positive, text } from "@/lib/search";

export const Route = createFileRoute("/_app/models")({
  staticData: { page: "models" },
  validateSearch: (search): ModelsSearch =>
    compact({
      q: text(search.q),
      show: oneOf(SHOWN, search.show),
      selected: text(search.selected),
      open: oneOf(["pull", "delete"], search.open),
      page: positive(search.page),
    }),
  component: ModelsRoute,
});

function ModelsRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <ModelsPage
      search={search}
      onSearch={(change, options) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), ...options })
      }
    />
  );
}
