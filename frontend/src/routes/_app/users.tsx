import { createFileRoute } from "@tanstack/react-router";
import { Credentials } from "@/features/credentials/Credentials";
import { UsersPage } from "@/features/users/Page";
import type { UsersSearch } from "@/features/users/search";
import { compact, positive, text } from "@/lib/search";

export const Route = createFileRoute("/_app/users")({
  staticData: { page: "users" },
  validateSearch: (search): UsersSearch =>
    compact({
      q: text(search.q),
      page: positive(search.page),
      selected: positive(search.selected),
    }),
  component: UsersRoute,
});

function UsersRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <UsersPage
      search={search}
      onSearch={(change, options) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), ...options })
      }
    >
      {(user, below) => <Credentials userId={user.id}>{below}</Credentials>}
    </UsersPage>
  );
}
