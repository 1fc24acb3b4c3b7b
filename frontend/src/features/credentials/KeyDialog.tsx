import { useQuery } from "@tanstack/react-query";
import { Dialog } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Skeleton } from "@/components/Skeleton";
import {
  ClearOverrideDialog,
  EndOldDialog,
  RevokeDialog,
} from "@/features/credentials/Confirmations";
import type { OpenDialog } from "@/features/credentials/dialogs";
import { IssueDialog } from "@/features/credentials/IssueDialog";
import { keyQuery } from "@/features/credentials/queries";
import { RotateDialog } from "@/features/credentials/RotateDialog";
import { ShowDialog } from "@/features/credentials/ShowDialog";
import { t } from "@/features/credentials/text";

interface Props {
  dialog: OpenDialog;
  onDialog: (dialog: OpenDialog | undefined) => void;
  /** Where a dialog about one key returns to: its details, or the page. */
  isDirect?: boolean;
}

/** The dialog that is open, loaded on demand. */
export function KeyDialog({ dialog, onDialog, isDirect = false }: Props) {
  if (dialog.kind === "issue") {
    return <IssueDialog ownerId={dialog.ownerId} onClose={() => onDialog(undefined)} />;
  }
  return <OneKey key={dialog.id} dialog={dialog} onDialog={onDialog} isDirect={isDirect} />;
}

interface OneKeyProps extends Required<Props> {
  dialog: Exclude<OpenDialog, { kind: "issue" }>;
}

function OneKey({ dialog, onDialog, isDirect }: OneKeyProps) {
  const { id, kind } = dialog;
  const { data: credential, error, refetch } = useQuery(keyQuery(id));
  const close = () => onDialog(undefined);
  const back = () => onDialog(isDirect ? undefined : { kind: "show", id });
  if (credential === undefined) {
    return (
      <Dialog title={t("name.none", { id })} onClose={close}>
        {error === null ? (
          <Skeleton label={t("show.loading")} lines={6} />
        ) : (
          <ErrorNotice error={error} onRetry={() => void refetch()} what={t("show.what")} />
        )}
      </Dialog>
    );
  }
  switch (kind) {
    case "rotate":
      return <RotateDialog credential={credential} onCancel={back} onDone={back} />;
    case "revoke":
      return <RevokeDialog credential={credential} onClose={back} />;
    case "end-old":
      return <EndOldDialog credential={credential} onClose={back} />;
    case "clear-override":
      return <ClearOverrideDialog credential={credential} onClose={back} />;
    case "show":
      return (
        <ShowDialog
          credential={credential}
          error={error}
          onOpen={(next) => onDialog({ kind: next, id })}
          onClose={close}
        />
      );
  }
}
