import { createFileRoute } from "@tanstack/react-router";
import { UsagePage } from "@/features/usage/Page";
import { readSearch } from "@/features/usage/search";
import { compact } from "@/lib/search";

export const Route = createFileRoute("/_app/usage")({
  staticData: { page: "usage" },
  validateSearch: readSearch,
  component: UsageRoute,
});

function UsageRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <UsagePage
      search={search}
      onSearch={(change, options) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), ...options })
      }
    />
  );
}
