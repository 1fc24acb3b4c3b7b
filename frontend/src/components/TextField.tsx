import type { ComponentProps } from "react";
import { Field, type FieldProps } from "@/components/Field";

type Props = FieldProps & Omit<ComponentProps<"input">, "className" | "id">;

/** A labelled text input of any `type` except password. */
export function TextField({ label, hint, error, ...input }: Props) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => <input type="text" {...input} {...control} className="control" />}
    </Field>
  );
}
