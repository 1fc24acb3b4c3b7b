import { createFileRoute, Outlet, redirect } from "@tanstack/react-router";
import { meQuery } from "@/api/me";
import { ApiError } from "@/api/problem";
import { startSession } from "@/api/session";
import { AccessDenied } from "@/features/shell/AccessDenied";
import { Layout } from "@/features/shell/Layout";
import { PageError } from "@/features/shell/PageError";
import { canOpen, type PageId } from "@/lib/pages";

/** Every page after sign-in: starts the session, checks the roles, and draws the navigation. */
export const Route = createFileRoute("/_app")({
  beforeLoad: async ({ context, location, matches }): Promise<{ isDenied: boolean }> => {
    const signIn = () =>
      redirect({ to: "/sign-in", search: { next: location.href }, replace: true });
    if (!(await startSession())) throw signIn();
    const profile = await context.queryClient.fetchQuery(meQuery).catch((error: unknown) => {
      throw error instanceof ApiError && error.status === 401 ? signIn() : error;
    });
    const page: PageId | undefined = matches.at(-1)?.staticData.page;
    return { isDenied: page !== undefined && !canOpen(profile, page) };
  },
  component: AppLayout,
  errorComponent: PageError,
});

function AppLayout() {
  const isDenied = Route.useRouteContext({ select: (context) => context.isDenied });
  return <Layout>{isDenied ? <AccessDenied /> : <Outlet />}</Layout>;
}
