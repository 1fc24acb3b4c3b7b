import { useState } from "react";
import { Button } from "@/components/Button";
import { Checkbox } from "@/components/Checkbox";
import { CopyButton } from "@/components/CopyButton";
import { Dialog, DialogActions } from "@/components/Dialog";
import { Notice } from "@/components/Notice";
import type { IssuedKey, Scope } from "@/features/credentials/queries";
import { Snippets } from "@/features/credentials/Snippets";
import { t } from "@/features/credentials/text";
import { absoluteTime } from "@/lib/time";

interface Props {
  title: string;
  issued: IssuedKey;
  label: string;
  scopes: readonly Scope[];
  models: readonly (readonly string[] | null)[];
  /** What happens to the earlier secret, after a rotation. */
  old?: string;
  onDone: () => void;
}

/**
 * Shows a secret for the only time. It closes by Done, which needs a copy or a tick; leaving the
 * page drops the secret.
 */
export function SecretDialog({ title, issued, label, scopes, models, old, onDone }: Props) {
  const [isCopied, setIsCopied] = useState(false);
  const [isTicked, setIsTicked] = useState(false);
  const isStored = isCopied || isTicked;
  const { plaintext, expires_at, hints } = issued;
  return (
    <Dialog title={title} size="lg" isModalOnly onClose={onDone}>
      <div className="flex flex-col gap-2">
        <h3 className="font-semibold">{t("secret.title")}</h3>
        <div className="flex flex-wrap items-center justify-between gap-2 rounded-lg border border-accent bg-accent-soft py-2 ps-3 pe-2">
          <code className="min-w-0 select-all break-all font-mono">{plaintext}</code>
          <CopyButton
            text={plaintext}
            target={t("secret.title")}
            onCopy={() => setIsCopied(true)}
          />
        </div>
        <p className="text-muted text-sm">
          {t("secret.warning")}{" "}
          {expires_at === null
            ? t("secret.never")
            : t("secret.expires", { time: absoluteTime(expires_at) })}{" "}
          {old}
        </p>
      </div>
      {hints.map((hint) => (
        <Notice key={hint.code} tone="warning" title={t("secret.hints")}>
          {hint.detail}
        </Notice>
      ))}
      <Snippets
        secret={plaintext}
        label={label}
        scopes={scopes}
        models={models}
        onCopy={() => setIsCopied(true)}
      />
      <div className="flex flex-wrap items-center justify-between gap-3 border-line border-t pt-4">
        <Checkbox
          label={t("secret.stored")}
          checked={isStored}
          disabled={isCopied}
          onChange={(event) => setIsTicked(event.target.checked)}
        />
        <DialogActions>
          <Button
            variant="primary"
            disabled={!isStored}
            title={isStored ? undefined : t("secret.doneHint")}
            onClick={onDone}
          >
            {t("secret.done")}
          </Button>
        </DialogActions>
      </div>
    </Dialog>
  );
}
