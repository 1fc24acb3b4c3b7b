import { useMutation } from "@tanstack/react-query";
import { client, unwrap } from "@/api/client";
import type { components } from "@/api/schema";
import { signOut } from "@/api/session";

type ChangePassword = components["schemas"]["ChangePassword"];

/** The server ends every session with the change; the sign-out tells the other tabs. */
export function useChangePassword() {
  return useMutation({
    mutationFn: async (body: ChangePassword) => {
      await unwrap(client.POST("/me/password", { body }));
      await signOut();
    },
    // The passwords must not outlive the request.
    gcTime: 0,
  });
}

export function useSignOutEverywhere() {
  return useMutation({ mutationFn: () => signOut(true) });
}
