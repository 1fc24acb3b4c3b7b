import { createFileRoute } from "@tanstack/react-router";
import { useCallback } from "react";
import { AuditPage } from "@/features/audit/Page";
import { type ChangeSearch, readSearch } from "@/features/audit/search";
import { compact } from "@/lib/search";

export const Route = createFileRoute("/_app/audit")({
  staticData: { page: "audit" },
  validateSearch: readSearch,
  component: AuditRoute,
});

function AuditRoute() {
  const search = Route.useSearch();
  const navigate = Route.useNavigate();
  const onSearch: ChangeSearch = useCallback(
    (change, options) =>
      void navigate({ search: (now) => compact({ ...now, ...change }), ...options }),
    [navigate],
  );
  return <AuditPage search={search} onSearch={onSearch} />;
}
