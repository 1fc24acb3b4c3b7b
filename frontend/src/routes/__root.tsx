import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, Outlet } from "@tanstack/react-router";
import { Toasts } from "@/components/Toasts";
import { NotFound } from "@/features/shell/NotFound";
import { PageError } from "@/features/shell/PageError";

interface RouterContext {
  queryClient: QueryClient;
}

export const Route = createRootRouteWithContext<RouterContext>()({
  component: Root,
  errorComponent: PageError,
  notFoundComponent: StandaloneNotFound,
});

function Root() {
  return (
    <>
      <Outlet />
      <Toasts />
    </>
  );
}

function StandaloneNotFound() {
  return (
    <main className="mx-auto flex max-w-2xl flex-col gap-4 px-4 py-10">
      <NotFound />
    </main>
  );
}
