import { type FormEvent, useState } from "react";
import { Button } from "@/components/Button";
import { Dialog, DialogActions } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Select } from "@/components/Select";
import { nameOf } from "@/features/credentials/names";
import { type IssuedKey, type Key, useRotateKey } from "@/features/credentials/queries";
import { SecretDialog } from "@/features/credentials/SecretDialog";
import { t } from "@/features/credentials/text";
import { useNow } from "@/lib/clock";
import { absoluteTime } from "@/lib/time";

interface Props {
  credential: Key;
  /** Called when the dialog is left before the rotation. */
  onCancel: () => void;
  /** Called when the new secret is stored. */
  onDone: () => void;
}

/** In seconds. */
const GRACES = [
  { value: "0", label: t("rotate.now") },
  { value: "3600", label: t("rotate.hour") },
  { value: "86400", label: t("rotate.day") },
  { value: "604800", label: t("rotate.week") },
  { value: "2592000", label: t("rotate.month") },
];
const DEFAULT_GRACE = "86400";

interface Result {
  issued: IssuedKey;
  /** When the former secret ends, in milliseconds since the epoch; undefined: it has ended. */
  oldEndsAt: number | undefined;
}

/** Gives a key another secret, and shows it once. */
export function RotateDialog({ credential, onCancel, onDone }: Props) {
  const [grace, setGrace] = useState(DEFAULT_GRACE);
  const [result, setResult] = useState<Result>();
  const seconds = Number(grace);
  const now = useNow(60_000);
  const rotate = useRotateKey(credential.id, (issued) =>
    setResult({ issued, oldEndsAt: seconds === 0 ? undefined : Date.now() + seconds * 1000 }),
  );
  const name = nameOf(credential);
  if (result !== undefined) {
    const { issued, oldEndsAt } = result;
    return (
      <SecretDialog
        title={t("secret.rotated", { name })}
        issued={issued}
        label={credential.label}
        scopes={credential.scopes}
        models={[credential.models]}
        old={
          oldEndsAt === undefined
            ? t("secret.oldEnded")
            : t("secret.old", { time: absoluteTime(oldEndsAt) })
        }
        onDone={onDone}
      />
    );
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    rotate.mutate(seconds);
  };
  return (
    <Dialog title={t("rotate.title", { name })} onClose={onCancel}>
      <form onSubmit={submit} className="flex flex-col gap-4">
        <p className="text-muted">{t("rotate.detail")}</p>
        <Select
          label={t("rotate.grace")}
          options={GRACES}
          value={grace}
          hint={
            seconds === 0
              ? t("rotate.nowHint")
              : t("rotate.until", { time: absoluteTime(now + seconds * 1000) })
          }
          onChange={(event) => setGrace(event.target.value)}
        />
        {credential.state === "retiring" && <p className="text-muted">{t("rotate.earlier")}</p>}
        <ErrorNotice error={rotate.error} />
        <DialogActions>
          <Button onClick={onCancel} data-initial-focus>
            {t("cancel")}
          </Button>
          <Button type="submit" variant="primary" isBusy={rotate.isPending}>
            {t("rotate.submit")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
