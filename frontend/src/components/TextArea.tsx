import type { ComponentProps } from "react";
import { Field, type FieldProps } from "@/components/Field";

type Props = FieldProps & Omit<ComponentProps<"textarea">, "className" | "id">;

/** A labelled text of several lines. It grows with its text where the browser can. */
export function TextArea({ label, hint, error, ...input }: Props) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <textarea rows={3} {...input} {...control} className="control field-sizing-content" />
      )}
    </Field>
  );
}
