import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { Field } from "@/components/Field";
import { ownersQuery } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";
import { useDebounced } from "@/lib/debounce";

interface Props {
  /** An address, as typed so far. */
  value: string;
  onChange: (value: string) => void;
  error: string | undefined;
}

/** A user by the address, with suggestions of the server. */
export function OwnerField({ value, onChange, error }: Props) {
  const list = useId();
  const text = useDebounced(value.trim());
  const owners = useQuery(ownersQuery(text));
  return (
    <Field label={t("issue.owner")} hint={t("issue.ownerHint")} error={error}>
      {(control) => (
        <>
          <input
            {...control}
            type="email"
            list={list}
            value={value}
            autoComplete="off"
            spellCheck={false}
            placeholder="ada@example.com"
            data-initial-focus
            onChange={(event) => onChange(event.target.value)}
            className="control"
          />
          <datalist id={list}>
            {owners.data?.map((user) => (
              <option key={user.id} value={user.email}>
                {user.display_name ?? ""}
              </option>
            ))}
          </datalist>
        </>
      )}
    </Field>
  );
}
