import { LogOut } from "lucide-react";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { useSignOutEverywhere } from "@/features/account/queries";
import { t } from "@/features/account/text";
import { notify } from "@/lib/notify";

/** Ends the user's sessions in every browser. */
export function Sessions({ onSignedOut }: { onSignedOut: () => void }) {
  const signOut = useSignOutEverywhere();
  const end = () =>
    signOut.mutate(undefined, {
      onSuccess: () => {
        notify(t("sessions.done"));
        onSignedOut();
      },
    });
  return (
    <Panel title={t("sessions.title")} description={t("sessions.description")}>
      <div className="flex flex-col gap-3">
        <ErrorNotice error={signOut.error} />
        <div>
          <Button icon={LogOut} isBusy={signOut.isPending} onClick={end}>
            {t("sessions.submit")}
          </Button>
        </div>
      </div>
    </Panel>
  );
}
