import { createFileRoute } from "@tanstack/react-router";
import { ChatPage } from "@/features/chat/Page";
import type { ChatSearch } from "@/features/chat/search";
import { compact, text } from "@/lib/search";

export const Route = createFileRoute("/_app/chat")({
  staticData: { page: "chat" },
  validateSearch: (search): ChatSearch =>
    compact({
      model: text(search.model),
      settings: search.settings === true || undefined,
    }),
  component: ChatRoute,
});

function ChatRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  return (
    <ChatPage
      search={search}
      onSearch={(change) =>
        void navigate({ search: (now) => compact({ ...now, ...change }), replace: true })
      }
    />
  );
}
