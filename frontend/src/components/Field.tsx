import { type ReactNode, useId } from "react";

/** What a control needs so that its label, hint and error belong to it. */
interface ControlProps {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

export interface FieldProps {
  label: string;
  /** One sentence that helps to fill in the field. */
  hint?: ReactNode;
  /** What is wrong with the value, usually `fieldError(mutation.error, "/email")`. */
  error?: string | undefined;
}

interface Props extends FieldProps {
  children: (control: ControlProps) => ReactNode;
}

/** A label above a control, with a hint and an error below it, all tied together. */
export function Field({ label, hint, error, children }: Props) {
  const id = useId();
  const hintId = `${id}-hint`;
  const errorId = `${id}-error`;
  const described = [error !== undefined && errorId, hint !== undefined && hintId].filter(Boolean);
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className="font-medium text-sm">
        {label}
      </label>
      {children({
        id,
        "aria-describedby": described.join(" ") || undefined,
        "aria-invalid": error !== undefined || undefined,
      })}
      {error !== undefined && (
        <p id={errorId} className="text-danger-text text-sm">
          {sentence(error)}
        </p>
      )}
      {hint !== undefined && (
        <p id={hintId} className="text-muted text-sm">
          {hint}
        </p>
      )}
    </div>
  );
}

/** The server's rules begin in lower case: “must have the form …”. */
function sentence(rule: string): string {
  return rule.charAt(0).toUpperCase() + rule.slice(1);
}
