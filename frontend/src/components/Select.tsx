import type { ComponentProps } from "react";
import { Field, type FieldProps } from "@/components/Field";

interface Option {
  value: string;
  label: string;
}

type Props = FieldProps &
  Omit<ComponentProps<"select">, "className" | "id" | "children"> & {
    options: readonly Option[];
  };

/** A labelled native select. */
export function Select({ label, hint, error, options, ...select }: Props) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <select {...select} {...control} className="control">
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
