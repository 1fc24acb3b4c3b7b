import { useQuery } from "@tanstack/react-query";
import { ChevronRight } from "lucide-react";
import { type FormEvent, useRef, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { Dialog, DialogActions } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { LimitsText } from "@/components/LimitsFields";
import { ModelAccessText } from "@/components/ModelAccessText";
import { Skeleton } from "@/components/Skeleton";
import { expiryTime, SHORTEST } from "@/features/credentials/expiry";
import {
  FIELDS,
  findMistakes,
  type KeyDraft,
  LabelAndExpiry,
  type Mistakes,
  ModelsAndLimits,
  Rights,
} from "@/features/credentials/KeyFields";
import { OwnerField } from "@/features/credentials/OwnerField";
import { type IssuedKey, ownerQuery, type User, useIssueKey } from "@/features/credentials/queries";
import { SecretDialog } from "@/features/credentials/SecretDialog";
import { DEFAULT_SCOPES } from "@/features/credentials/scopes";
import { t } from "@/features/credentials/text";
import { useFocusOnMistake } from "@/lib/focus";

interface Props {
  /** The owner; absent: the dialog asks for it. */
  ownerId: number | undefined;
  onClose: () => void;
}

interface Result {
  issued: IssuedKey;
  owner: User;
}

const EMPTY: KeyDraft = {
  label: "",
  scopes: [...DEFAULT_SCOPES],
  models: null,
  limits: {
    requests_per_minute: null,
    tokens_per_minute: null,
    tokens_per_day: null,
    tokens_per_month: null,
    max_concurrent: null,
  },
  priority: "interactive",
  expiry: { choice: SHORTEST, date: "" },
};

/** Issues a key, then shows its secret once. The secret lives in the state of this dialog only. */
export function IssueDialog({ ownerId, onClose }: Props) {
  const [draft, setDraft] = useState(EMPTY);
  const [result, setResult] = useState<Result>();
  if (result !== undefined) {
    return (
      <SecretDialog
        title={t("secret.issued", { owner: result.owner.email })}
        issued={result.issued}
        label={draft.label}
        scopes={draft.scopes}
        models={[draft.models, result.owner.models]}
        onDone={onClose}
      />
    );
  }
  return (
    <Dialog title={t("issue.title")} size="lg" onClose={onClose}>
      <IssueForm
        ownerId={ownerId}
        draft={draft}
        onDraft={(part) => setDraft((now) => ({ ...now, ...part }))}
        onIssued={setResult}
        onClose={onClose}
      />
    </Dialog>
  );
}

interface FormProps extends Props {
  draft: KeyDraft;
  onDraft: (part: Partial<KeyDraft>) => void;
  onIssued: (result: Result) => void;
}

function IssueForm({ ownerId, draft, onDraft, onIssued, onClose }: FormProps) {
  const [address, setAddress] = useState("");
  const [mistakes, setMistakes] = useState<Mistakes & { owner?: string }>({});
  const issue = useIssueKey((issued, owner) => onIssued({ issued, owner }));
  const fields = { draft, onChange: onDraft, mistakes, error: issue.error };

  const form = useRef<HTMLFormElement>(null);
  useFocusOnMistake(form, mistakes, issue.error);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const owner = ownerId ?? address.trim();
    const found = {
      ...findMistakes(draft),
      ...(owner === "" && { owner: t("issue.ownerMissing") }),
    };
    setMistakes(found);
    if (Object.keys(found).length > 0) return issue.reset();
    const { scopes, models, limits, priority, expiry } = draft;
    const label = draft.label.trim() || null;
    const expires_at = expiryTime(expiry) ?? null;
    return issue.mutate({ owner, label, scopes, models, limits, priority, expires_at });
  };

  return (
    <form ref={form} onSubmit={submit} noValidate className="flex flex-col gap-5">
      {ownerId === undefined ? (
        <OwnerField
          value={address}
          onChange={setAddress}
          error={mistakes.owner ?? fieldError(issue.error, "/owner")}
        />
      ) : (
        <KnownOwner id={ownerId} />
      )}
      <LabelAndExpiry {...fields} />
      <Rights {...fields} />
      <details className="group rounded-lg border border-line">
        <summary className="flex flex-wrap items-center gap-x-2 rounded-lg px-3 py-2 hover:bg-hover">
          <ChevronRight
            aria-hidden
            className="size-4 text-muted motion-safe:transition-transform group-open:rotate-90"
          />
          <span className="font-medium text-sm">{t("issue.more")}</span>
          <span className="text-muted text-sm">
            <ModelAccessText models={draft.models} isBrief />
            {" · "}
            <LimitsText limits={draft.limits} of="key" />
          </span>
        </summary>
        <div className="border-line border-t p-3">
          <ModelsAndLimits {...fields} initial={EMPTY.models} />
        </div>
      </details>
      <ErrorNotice error={issue.error} fields={[...FIELDS, "/owner"]} />
      <DialogActions>
        <Button onClick={onClose}>{t("cancel")}</Button>
        <Button type="submit" variant="primary" isBusy={issue.isPending}>
          {t("issue.submit")}
        </Button>
      </DialogActions>
    </form>
  );
}

function KnownOwner({ id }: { id: number }) {
  const owner = useQuery(ownerQuery(id));
  if (owner.error !== null) return <ErrorNotice error={owner.error} />;
  if (owner.data === undefined) return <Skeleton label={t("issue.owner")} lines={1} />;
  return (
    <p className="text-muted">
      {t("issue.owner")}: <span className="font-medium text-text">{owner.data.email}</span>
    </p>
  );
}
