import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, Outlet } from "@tanstack/react-router";
import { Toasts } from "@/components/Toasts";
import { PageError } from "@/features/shell/PageError";

interface RouterContext {
  queryClient: QueryClient;
}

export const Route = createRootRouteWithContext<RouterContext>()({
  component: Root,
  errorComponent: PageError,
});

function Root() {
  return (
    <>
      <Outlet />
      <Toasts />
    </>
  );
}
