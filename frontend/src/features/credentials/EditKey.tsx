import { Pencil } from "lucide-react";
import { type FormEvent, type ReactNode, useRef, useState } from "react";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { LimitsText } from "@/components/LimitsFields";
import { ModelAccessText } from "@/components/ModelAccessText";
import { ScopesText } from "@/features/credentials/columns";
import { expiryTime } from "@/features/credentials/expiry";
import {
  FIELDS,
  findMistakes,
  type KeyDraft,
  LabelAndExpiry,
  type Mistakes,
  ModelsAndLimits,
  Rights,
} from "@/features/credentials/KeyFields";
import { type Key, type KeyPatch, useChangeKey } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";
import { useFocusOnMistake } from "@/lib/focus";
import { notify } from "@/lib/notify";
import { absoluteTime } from "@/lib/time";

interface Props {
  credential: Key;
  isReadOnly: boolean;
}

/** What the key may do, in words; a form on request. */
export function EditKey({ credential, isReadOnly }: Props) {
  const [isEditing, setIsEditing] = useState(false);
  return (
    <section aria-labelledby="key-settings" className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <h3 id="key-settings" className="font-semibold">
          {t("edit.title")}
        </h3>
        {!isReadOnly && !isEditing && (
          <Button size="sm" icon={Pencil} onClick={() => setIsEditing(true)}>
            {t("edit.edit")}
          </Button>
        )}
      </div>
      {isEditing && !isReadOnly ? (
        <EditForm credential={credential} onDone={() => setIsEditing(false)} />
      ) : (
        <dl className="flex flex-col gap-2">
          <Setting name={t("scopes.legend")}>
            <ScopesText scopes={credential.scopes} />
          </Setting>
          <Setting name={t("issue.models")}>
            <ModelAccessText models={credential.models} />
          </Setting>
          <Setting name={t("issue.limits")}>
            <LimitsText limits={credential.limits} of="key" />
          </Setting>
          <Setting name={t("priority.label")}>{t(`priority.${credential.priority}`)}</Setting>
        </dl>
      )}
    </section>
  );
}

function Setting({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="grid gap-x-4 sm:grid-cols-[7rem_minmax(0,1fr)]">
      <dt className="text-muted">{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function EditForm({ credential, onDone }: { credential: Key; onDone: () => void }) {
  const [changes, setChanges] = useState<Partial<KeyDraft>>({});
  const [mistakes, setMistakes] = useState<Mistakes>({});
  const change = useChangeKey(credential.id);
  const draft: KeyDraft = { ...credential, expiry: { choice: "keep", date: "" }, ...changes };
  const fields = {
    draft,
    mistakes,
    error: change.error,
    onChange: (part: Partial<KeyDraft>) => setChanges((now) => ({ ...now, ...part })),
  };

  const form = useRef<HTMLFormElement>(null);
  useFocusOnMistake(form, mistakes, change.error);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const isLabelMissing = draft.label.trim() === "";
    const found = {
      ...findMistakes(draft),
      ...(isLabelMissing && { label: t("edit.labelMissing") }),
    };
    setMistakes(found);
    if (Object.keys(found).length > 0) return change.reset();
    return change.mutate(toPatch(changes), {
      onSuccess: () => {
        notify(t("edit.updated"));
        onDone();
      },
    });
  };

  return (
    <form ref={form} onSubmit={submit} noValidate className="flex flex-col gap-5">
      <LabelAndExpiry {...fields} keep={keepText(credential)} />
      <Rights {...fields} />
      <ModelsAndLimits {...fields} initial={credential.models} />
      <ErrorNotice error={change.error} fields={FIELDS} />
      <div className="flex flex-wrap gap-2">
        <Button type="submit" variant="primary" isBusy={change.isPending}>
          {t("edit.save")}
        </Button>
        <Button onClick={onDone}>{t("cancel")}</Button>
      </div>
    </form>
  );
}

/** Only what was changed, so that a concurrent change of something else stays. */
function toPatch({ expiry, label, ...rest }: Partial<KeyDraft>): KeyPatch {
  const isExpiryChanged = expiry !== undefined && expiry.choice !== "keep";
  return {
    ...rest,
    ...(label !== undefined && { label: label.trim() }),
    ...(isExpiryChanged && { expires_at: expiryTime(expiry) ?? null }),
  };
}

function keepText({ expires_at }: Key): string {
  return expires_at === null
    ? t("expiry.keepNever")
    : t("expiry.keep", { time: absoluteTime(expires_at) });
}
