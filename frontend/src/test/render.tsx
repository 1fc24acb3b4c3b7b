import { QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory } from "@tanstack/react-router";
import { render } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { HttpResponse, http } from "msw";
import type { ReactNode } from "react";
import { onTestFinished } from "vitest";
import type { Profile } from "@/api/me";
import { signIn, signOut } from "@/api/session";
import { App, followSession } from "@/app";
import { Toasts } from "@/components/Toasts";
import { createAppQueryClient, createAppRouter } from "@/router";
import { aProfile } from "@/test/fixtures";
import { server } from "@/test/server";

/** Renders the application at `path` below `/ui`. `as: null` is a visitor who is not signed in. */
export async function renderApp(path: string, { as = aProfile() }: { as?: Profile | null } = {}) {
  server.use(http.get("*/me", () => HttpResponse.json(as)));
  await (as === null ? signOut() : signIn("name", "password"));
  const queryClient = quickQueryClient();
  const router = createAppRouter(
    queryClient,
    createMemoryHistory({ initialEntries: [`/ui${path}`] }),
  );
  onTestFinished(followSession({ router, queryClient }));
  const user = userEvent.setup();
  return {
    router,
    queryClient,
    user,
    ...render(<App router={router} queryClient={queryClient} />),
  };
}

/** Renders a component that needs queries and messages, but no router. */
export function renderPart(part: ReactNode) {
  const queryClient = quickQueryClient();
  const wrapper = ({ children }: { children: ReactNode }) => (
    <QueryClientProvider client={queryClient}>
      {children}
      <Toasts />
    </QueryClientProvider>
  );
  return { user: userEvent.setup(), ...render(part, { wrapper }) };
}

/** The application's query client, but a failure shows at once. */
function quickQueryClient() {
  const queryClient = createAppQueryClient();
  const { queries, ...others } = queryClient.getDefaultOptions();
  queryClient.setDefaultOptions({ ...others, queries: { ...queries, retry: false } });
  return queryClient;
}
