import { createFileRoute } from "@tanstack/react-router";
import { MyUsagePage } from "@/features/usage/MyPage";
import { readSearch } from "@/features/usage/search";
import { compact } from "@/lib/search";

export const Route = createFileRoute("/_app/my-usage")({
  staticData: { page: "myUsage" },
  validateSearch: readSearch,
  component: MyUsageRoute,
});

function MyUsageRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <MyUsagePage
      search={search}
      onSearch={(change, options) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), ...options })
      }
    />
  );
}
