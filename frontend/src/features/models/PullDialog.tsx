import { Download } from "lucide-react";
import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { Dialog, DialogActions } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { TextField } from "@/components/TextField";
import { shortName } from "@/features/models/format";
import { useStartPull } from "@/features/models/queries";
import { t } from "@/features/models/text";
import { notify } from "@/lib/notify";

/** Starts the pull of a model. The pull itself needs no open page. */
export function PullDialog({ onClose }: { onClose: () => void }) {
  const start = useStartPull();
  const [isMissing, setIsMissing] = useState(false);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const model = String(new FormData(event.currentTarget).get("model")).trim();
    setIsMissing(model === "");
    if (model === "") return start.reset();
    return start.mutate(model, {
      onSuccess: ({ pull, isNew }) => {
        notify(t(isNew ? "pull.started" : "pull.joined", { model: shortName(pull.model) }));
        onClose();
      },
    });
  };
  return (
    <Dialog title={t("pull.title")} onClose={onClose} size="sm">
      <form onSubmit={submit} noValidate className="flex flex-col gap-4">
        <TextField
          label={t("pull.model")}
          hint={t("pull.hint")}
          name="model"
          placeholder="smollm2:135m"
          autoComplete="off"
          spellCheck={false}
          data-initial-focus
          error={isMissing ? t("pull.required") : fieldError(start.error, "/model")}
        />
        <p className="text-muted text-sm">{t("pull.detail")}</p>
        <ErrorNotice error={start.error} fields={["/model"]} />
        <DialogActions>
          <Button onClick={onClose}>{t("pull.cancel")}</Button>
          <Button type="submit" variant="primary" icon={Download} isBusy={start.isPending}>
            {t("pull.submit")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
