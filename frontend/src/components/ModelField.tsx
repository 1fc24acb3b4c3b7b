import { RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import { ApiError } from "@/api/problem";
import { Button } from "@/components/Button";
import { Field } from "@/components/Field";
import { t } from "@/components/text";

interface Choice {
  name: string;
  /** Whether the model is of the kind that the page needs. The others come last. */
  isSuited: boolean;
}

interface Props {
  label: string;
  /** The models that the user may use; undefined while they are being loaded or if that failed. */
  choices: readonly Choice[] | undefined;
  /** The headings of the two kinds in the list. */
  groups: { suited: string; others: string };
  /** Why the models cannot be listed. */
  error: unknown;
  onReload: () => void;
  value: string;
  onChange: (model: string) => void;
  /** What is wrong with the value. */
  problem?: string | undefined;
}

/**
 * The model of a request: a drop-down of the user's models. If there are none, or they cannot be
 * listed, it becomes a text input and says why.
 */
export function ModelField({ label, choices, error, onReload, ...props }: Props) {
  if (choices === undefined && error === null) {
    return (
      <Field label={label}>
        {(control) => (
          <select {...control} disabled className="control">
            <option>{t("modelField.loading")}</option>
          </select>
        )}
      </Field>
    );
  }
  if (choices !== undefined && choices.length > 0) {
    return <ModelSelect label={label} choices={choices} {...props} />;
  }
  return (
    <ModelInput
      label={label}
      reason={
        <>
          {error === null
            ? t("modelField.none")
            : t("modelField.failed", { cause: causeOf(error) })}{" "}
          <span className="inline-block">
            <Button size="sm" variant="quiet" icon={RotateCw} onClick={onReload}>
              {t("modelField.reload")}
            </Button>
          </span>
        </>
      }
      {...props}
    />
  );
}

type SelectProps = Omit<Props, "error" | "onReload"> & { choices: readonly Choice[] };

function ModelSelect({ label, choices, groups, value, onChange, problem }: SelectProps) {
  const isKnown = value === "" || choices.some(({ name }) => name === value);
  const suited = choices.filter((choice) => choice.isSuited);
  const others = choices.filter((choice) => !choice.isSuited);
  return (
    <Field label={label} error={isKnown ? problem : t("modelField.unknown", { model: value })}>
      {(control) => (
        <select
          {...control}
          value={value}
          onChange={(event) => onChange(event.target.value)}
          className="control"
        >
          {!isKnown && <option value={value}>{value}</option>}
          {value === "" && <option value="">{t("modelField.choose")}</option>}
          <Options title={groups.suited} choices={suited} />
          <Options title={groups.others} choices={others} />
        </select>
      )}
    </Field>
  );
}

function Options({ title, choices }: { title: string; choices: readonly Choice[] }) {
  if (choices.length === 0) return null;
  return (
    <optgroup label={title}>
      {choices.map(({ name }) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </optgroup>
  );
}

type InputProps = Pick<Props, "label" | "value" | "onChange" | "problem"> & { reason: ReactNode };

function ModelInput({ label, value, onChange, problem, reason }: InputProps) {
  return (
    <Field label={label} hint={reason} error={problem}>
      {(control) => (
        <input
          {...control}
          type="text"
          value={value}
          onChange={(event) => onChange(event.target.value)}
          placeholder="smollm2:135m"
          autoComplete="off"
          spellCheck={false}
          className="control"
        />
      )}
    </Field>
  );
}

/** The server's own words, without their full stop; without an answer, that it does not answer. */
function causeOf(error: unknown): string {
  const detail = error instanceof ApiError ? error.detail : "";
  return detail === "" ? t("modelField.unreachable") : detail.replace(/\.$/, "");
}
