import { createFileRoute, Navigate } from "@tanstack/react-router";
import { useProfile } from "@/api/me";
import { usePages } from "@/features/shell/pages";

/** The address without a page leads to the first page of the user's navigation. */
export const Route = createFileRoute("/_app/")({ component: FirstPage });

function FirstPage() {
  const first = usePages(useProfile())[0];
  return first === undefined ? null : <Navigate to={first.to} replace />;
}
