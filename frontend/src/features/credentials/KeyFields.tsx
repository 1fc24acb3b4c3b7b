import { useQuery } from "@tanstack/react-query";
import { modelNamesQuery } from "@/api/models";
import { fieldError } from "@/api/problem";
import { LimitsFields } from "@/components/LimitsFields";
import { ModelAccessField } from "@/components/ModelAccessField";
import { Select } from "@/components/Select";
import { Skeleton } from "@/components/Skeleton";
import { TextField } from "@/components/TextField";
import { ExpiryField } from "@/features/credentials/ExpiryField";
import { type Expiry, expiryTime } from "@/features/credentials/expiry";
import type { Key } from "@/features/credentials/queries";
import { ScopesField } from "@/features/credentials/ScopesField";
import { t } from "@/features/credentials/text";

/** What an admin decides about a key, at issuance and later. */
export interface KeyDraft extends Pick<Key, "label" | "scopes" | "models" | "limits" | "priority"> {
  expiry: Expiry;
}

/** What is wrong with the draft before the server is asked. */
export interface Mistakes {
  label?: string;
  scopes?: string;
  expiry?: string;
}

/** The values whose errors are shown at their fields. */
export const FIELDS = ["/label", "/scopes", "/models", "/limits", "/priority", "/expires_at"];

interface Props {
  draft: KeyDraft;
  onChange: (part: Partial<KeyDraft>) => void;
  mistakes: Mistakes;
  /** The server's answer to the last attempt. */
  error: unknown;
}

export function findMistakes({ scopes, expiry }: KeyDraft): Mistakes {
  const isTimeMissing = expiry.choice !== "keep" && expiryTime(expiry) === undefined;
  return {
    ...(scopes.length === 0 && { scopes: t("scopes.missing") }),
    ...(isTimeMissing && { expiry: t("expiry.timeMissing") }),
  };
}

export function LabelAndExpiry(props: Props & { keep?: string }) {
  const { draft, onChange, mistakes, error, keep } = props;
  return (
    <div className="grid items-start gap-x-6 gap-y-3 sm:grid-cols-2">
      <TextField
        label={t("issue.label")}
        hint={t("issue.labelHint")}
        value={draft.label}
        maxLength={100}
        autoComplete="off"
        placeholder={keep === undefined ? t("issue.labelDefault") : undefined}
        error={mistakes.label ?? fieldError(error, "/label")}
        onChange={(event) => onChange({ label: event.target.value })}
      />
      <ExpiryField
        value={draft.expiry}
        onChange={(expiry) => onChange({ expiry })}
        error={mistakes.expiry ?? fieldError(error, "/expires_at")}
        {...(keep !== undefined && { keep })}
      />
    </div>
  );
}

export function Rights({ draft, onChange, mistakes, error }: Props) {
  return (
    <ScopesField
      value={draft.scopes}
      onChange={(scopes) => onChange({ scopes })}
      error={mistakes.scopes ?? fieldError(error, "/scopes")}
    />
  );
}

const PRIORITIES = (["interactive", "batch"] as const).map((value) => ({
  value,
  label: t(`priority.${value}`),
}));

/** The models and limits that narrow those of the owner. `initial` does not follow the draft. */
export function ModelsAndLimits({
  draft,
  onChange,
  error,
  initial,
}: Props & { initial: Key["models"] }) {
  const known = useQuery(modelNamesQuery);
  return (
    <div className="flex flex-col gap-5">
      {known.isPending ? (
        <Skeleton label={t("issue.models")} lines={3} />
      ) : (
        <ModelAccessField
          legend={t("issue.models")}
          initial={initial}
          onChange={(models) => onChange({ models })}
          known={known.data ?? []}
          error={fieldError(error, "/models")}
        />
      )}
      <fieldset>
        <legend className="mb-1.5 font-medium text-sm">{t("issue.limits")}</legend>
        <LimitsFields
          value={draft.limits}
          onChange={(limits) => onChange({ limits })}
          of="key"
          errorOf={(name) => fieldError(error, `/limits/${name}`)}
        />
      </fieldset>
      <Select
        label={t("priority.label")}
        hint={t("priority.hint")}
        options={PRIORITIES}
        value={draft.priority}
        error={fieldError(error, "/priority")}
        onChange={(event) => onChange({ priority: event.target.value as Key["priority"] })}
      />
    </div>
  );
}
