import { type FormEvent, type ReactNode, useState } from "react";
import { Button } from "@/components/Button";
import { Dialog, DialogActions } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { TextField } from "@/components/TextField";
import { t } from "@/components/text";

interface Props {
  /** The question, with verb and object: “Delete ada@example.com?” */
  title: string;
  /** What will happen, and whether it can be undone. */
  children: ReactNode;
  /** The button's verb and object: “Delete user”. */
  action: string;
  /** A text that must be typed first. Only for what cannot be undone. */
  typed?: string;
  isBusy: boolean;
  /** The error of the last attempt. */
  error: unknown;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something is destroyed. The focus starts on Cancel. */
export function ConfirmDialog(props: Props) {
  const { title, children, action, typed, isBusy, error, onConfirm, onClose } = props;
  const [text, setText] = useState("");
  const [isMismatch, setIsMismatch] = useState(false);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const matches = typed === undefined || text.trim() === typed;
    setIsMismatch(!matches);
    if (matches) onConfirm();
  };
  return (
    <Dialog title={title} onClose={onClose} size="sm">
      <form onSubmit={submit} className="flex flex-col gap-4">
        <div className="flex flex-col gap-2 text-muted">{children}</div>
        {typed !== undefined && (
          <TextField
            label={t("confirm.type", { expected: typed })}
            value={text}
            onChange={(event) => setText(event.target.value)}
            error={isMismatch ? t("confirm.mismatch", { expected: typed }) : undefined}
            autoComplete="off"
            spellCheck={false}
          />
        )}
        <ErrorNotice error={error} />
        <DialogActions>
          <Button onClick={onClose} data-initial-focus>
            {t("cancel")}
          </Button>
          <Button type="submit" variant="danger" isBusy={isBusy}>
            {action}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
