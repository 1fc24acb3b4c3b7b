import { createFileRoute, redirect } from "@tanstack/react-router";
import { startSession } from "@/api/session";
import { SignInPage } from "@/features/auth/SignInPage";
import { BackendStatus } from "@/features/shell/BackendStatus";
import { compact, localPath } from "@/lib/search";

interface Search {
  /** The page to return to: a path below `/ui`. */
  next?: string;
}

export const Route = createFileRoute("/sign-in")({
  validateSearch: (search): Search => compact({ next: localPath(search.next) }),
  beforeLoad: async ({ search }) => {
    // A server that does not answer is no reason to hide the form; its status is below.
    const isSignedIn = await startSession().catch(() => false);
    if (isSignedIn) throw redirect({ href: search.next ?? "/", replace: true });
  },
  component: () => <SignInPage footer={<BackendStatus />} />,
});
