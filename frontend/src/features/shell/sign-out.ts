import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { signOut } from "@/api/session";
import { t } from "@/features/shell/text";
import { notify } from "@/lib/notify";

/** Signs out in every tab. */
export function useSignOut() {
  const navigate = useNavigate();
  const mutation = useMutation({
    mutationFn: () => signOut(),
    // The next user starts at the first page, not where this one was.
    onSuccess: () => navigate({ to: "/sign-in", search: {}, replace: true }),
    onError: (error) => notify(t("signOutFailed", { cause: error.message })),
  });
  return { run: () => mutation.mutate(), isBusy: mutation.isPending };
}
