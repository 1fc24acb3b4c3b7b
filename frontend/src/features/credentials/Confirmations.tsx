import { ConfirmDialog } from "@/components/ConfirmDialog";
import { nameOf, objectOf, ownerOf } from "@/features/credentials/names";
import {
  type Key,
  useClearOverride,
  useEndGrace,
  useRevokeKey,
} from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";
import { useNow } from "@/lib/clock";
import { notify } from "@/lib/notify";
import { relativeTime } from "@/lib/time";

interface Props {
  credential: Key;
  onClose: () => void;
}

export function RevokeDialog({ credential, onClose }: Props) {
  const revoke = useRevokeKey(credential.id);
  const now = useNow(60_000);
  const { prefix, last_used_at } = credential;
  const object = objectOf(credential);
  const name = nameOf(credential);
  return (
    <ConfirmDialog
      title={t("revoke.title", { name, owner: ownerOf(credential) })}
      action={t("revoke.submit")}
      isBusy={revoke.isPending}
      error={revoke.error}
      onConfirm={() =>
        revoke.mutate(undefined, {
          onSuccess: () => {
            notify(t("revoke.done", { name }));
            onClose();
          },
        })
      }
      onClose={onClose}
    >
      <p>{t("revoke.detail")}</p>
      <p>
        {prefix !== null && t("revoke.keep", { prefix })}{" "}
        {last_used_at === null
          ? t("revoke.neverUsed")
          : t("revoke.lastUsed", { time: relativeTime(last_used_at, now) })}
      </p>
      {object !== undefined && <p>{t("revoke.managed", { object })}</p>}
    </ConfirmDialog>
  );
}

export function EndOldDialog({ credential, onClose }: Props) {
  const end = useEndGrace(credential.id);
  const name = nameOf(credential);
  return (
    <ConfirmDialog
      title={t("endOld.title", { name })}
      action={t("endOld.submit")}
      isBusy={end.isPending}
      error={end.error}
      onConfirm={() =>
        end.mutate(undefined, {
          onSuccess: () => {
            notify(t("endOld.done", { name }));
            onClose();
          },
        })
      }
      onClose={onClose}
    >
      <p>{t("endOld.detail")}</p>
    </ConfirmDialog>
  );
}

export function ClearOverrideDialog({ credential, onClose }: Props) {
  const clear = useClearOverride(credential.id);
  const name = nameOf(credential);
  return (
    <ConfirmDialog
      title={t("override.title", { name })}
      action={t("override.submit")}
      isBusy={clear.isPending}
      error={clear.error}
      onConfirm={() =>
        clear.mutate(undefined, {
          onSuccess: () => {
            notify(t("override.done", { name }));
            onClose();
          },
        })
      }
      onClose={onClose}
    >
      <p>{t("override.detail", { object: objectOf(credential) ?? name })}</p>
    </ConfirmDialog>
  );
}
