import { type QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type RegisteredRouter, RouterProvider } from "@tanstack/react-router";
import { onSessionChange, sessionState } from "@/api/session";

interface Props {
  router: RegisteredRouter;
  queryClient: QueryClient;
}

export function App({ router, queryClient }: Props) {
  return (
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  );
}

/**
 * After a sign-in or sign-out, here or in another tab, the routes decide anew what is shown, and
 * nothing of the former user remains. Returns how to stop.
 */
export function followSession({ router, queryClient }: Props): () => void {
  return onSessionChange(() => {
    void (async () => {
      await queryClient.invalidateQueries({ refetchType: "none" });
      await router.invalidate();
      if (sessionState() === "signed-in") await queryClient.refetchQueries({ stale: true });
      else queryClient.clear();
    })();
  });
}
