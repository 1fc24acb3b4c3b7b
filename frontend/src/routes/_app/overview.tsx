import { createFileRoute } from "@tanstack/react-router";
import { OverviewPage } from "@/features/overview/Page";

export const Route = createFileRoute("/_app/overview")({
  staticData: { page: "overview" },
  component: OverviewPage,
});
