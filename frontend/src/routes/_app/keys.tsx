import { createFileRoute } from "@tanstack/react-router";
import { KeysPage } from "@/features/credentials/Page";
import { readSearch } from "@/features/credentials/search";
import { compact } from "@/lib/search";

export const Route = createFileRoute("/_app/keys")({
  staticData: { page: "keys" },
  validateSearch: readSearch,
  component: KeysRoute,
});

function KeysRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <KeysPage
      search={search}
      onSearch={(change, options) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), ...options })
      }
    />
  );
}
