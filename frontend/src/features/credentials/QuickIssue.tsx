import { type FormEvent, lazy, Suspense, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Select } from "@/components/Select";
import { TextField } from "@/components/TextField";
import { EXPIRY_OPTIONS, expiryTime, SHORTEST } from "@/features/credentials/expiry";
import { type IssuedKey, type User, useIssueKey } from "@/features/credentials/queries";
import { DEFAULT_SCOPES } from "@/features/credentials/scopes";
import { t } from "@/features/credentials/text";

const importSecretDialog = () => import("@/features/credentials/SecretDialog");

const SecretDialog = lazy(async () => ({ default: (await importSecretDialog()).SecretDialog }));

interface Props {
  userId: number;
  /** Opens the dialog with scopes, models and limits. */
  onOptions: () => void;
}

/** A key for using models takes a label and a lifetime. */
export function QuickIssue({ userId, onOptions }: Props) {
  const [label, setLabel] = useState("");
  const [choice, setChoice] = useState(SHORTEST);
  const [result, setResult] = useState<{ issued: IssuedKey; owner: User }>();
  const issue = useIssueKey((issued, owner) => setResult({ issued, owner }), importSecretDialog);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    issue.mutate({
      owner: userId,
      label: label.trim() || null,
      expires_at: expiryTime({ choice, date: "" }) ?? null,
    });
  };
  const done = () => {
    setResult(undefined);
    setLabel("");
  };

  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <div className="grid items-start gap-3 sm:grid-cols-[minmax(0,1fr)_minmax(0,11rem)]">
        <TextField
          label={t("panel.label")}
          placeholder={t("issue.labelDefault")}
          value={label}
          maxLength={100}
          autoComplete="off"
          error={fieldError(issue.error, "/label")}
          onChange={(event) => setLabel(event.target.value)}
        />
        <Select
          label={t("panel.expires")}
          options={PRESETS}
          value={choice}
          error={fieldError(issue.error, "/expires_at")}
          onChange={(event) => setChoice(event.target.value)}
        />
        <div className="flex flex-wrap gap-2 sm:col-span-2">
          <Button type="submit" variant="primary" isBusy={issue.isPending}>
            {t("panel.issue")}
          </Button>
          <Button variant="quiet" onClick={onOptions}>
            {t("panel.options")}
          </Button>
        </div>
      </div>
      <ErrorNotice error={issue.error} fields={["/label", "/expires_at"]} />
      {result !== undefined && (
        <Suspense>
          <SecretDialog
            title={t("secret.issued", { owner: result.owner.email })}
            issued={result.issued}
            label={label}
            scopes={DEFAULT_SCOPES}
            models={[result.owner.models]}
            onDone={done}
          />
        </Suspense>
      )}
    </form>
  );
}

/** A time of one's own needs the dialog. */
const PRESETS = EXPIRY_OPTIONS.filter(({ value }) => value !== "date");
