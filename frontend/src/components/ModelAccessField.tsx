import { useId, useState } from "react";
import { Checkbox } from "@/components/Checkbox";
import { ModelAccessText } from "@/components/ModelAccessText";
import { TextArea } from "@/components/TextArea";
import { t } from "@/components/text";
import { type ModelAccess, readAccess, writeAccess } from "@/lib/models";

interface Props {
  legend: string;
  /** The list to begin with. To begin anew, change the component's `key`. */
  initial: readonly string[] | null;
  /** Called with the new list after each change. */
  onChange: (models: string[] | null) => void;
  /** The names of models to choose from. */
  known: readonly string[];
  /** What the server says about the list. */
  error?: string | undefined;
}

const KINDS = ["all", "some", "none"] as const;

interface Draft {
  kind: ModelAccess["kind"];
  chosen: string[];
  /** What is not in the list of known models, one per line, as typed. */
  others: string;
  denied: string;
}

/** Chooses which models a user or a key may use: every one, these, or none. */
export function ModelAccessField({ legend, initial, onChange, known, error }: Props) {
  const name = useId();
  const [draft, setDraft] = useState(() => toDraft(readAccess(initial), known));
  const change = (part: Partial<Draft>) => {
    const next = { ...draft, ...part };
    setDraft(next);
    onChange(toModels(next));
  };
  return (
    <fieldset className="flex flex-col gap-2.5">
      <legend className="mb-1.5 font-medium text-sm">{legend}</legend>
      {KINDS.map((kind) => (
        <label key={kind} className="flex items-start gap-2.5">
          <input
            type="radio"
            name={name}
            checked={draft.kind === kind}
            onChange={() => change({ kind })}
            className="mt-0.75 size-4 shrink-0"
          />
          {t(`models.choice.${kind}`)}
        </label>
      ))}
      {draft.kind === "some" && <SomeModels draft={draft} known={known} onChange={change} />}
      {draft.kind !== "none" && (
        <TextArea
          label={t("models.denied.label")}
          hint={t("models.denied.hint")}
          rows={1}
          value={draft.denied}
          onChange={(event) => change({ denied: event.target.value })}
          spellCheck={false}
        />
      )}
      {error !== undefined && <p className="text-danger-text text-sm">{error}</p>}
      <p className="rounded-md bg-subtle px-3 py-2 text-sm" aria-live="polite">
        {t("models.result")} <ModelAccessText models={toModels(draft)} />
      </p>
    </fieldset>
  );
}

interface SomeProps {
  draft: Draft;
  known: readonly string[];
  onChange: (part: Partial<Draft>) => void;
}

function SomeModels({ draft, known, onChange }: SomeProps) {
  return (
    <div className="flex flex-col gap-3 ps-6.5">
      {known.length > 0 && (
        <div className="grid max-h-56 gap-x-4 gap-y-1.5 overflow-y-auto sm:grid-cols-2">
          {known.map((model) => (
            <Checkbox
              key={model}
              label={model}
              checked={draft.chosen.includes(model)}
              onChange={(event) =>
                onChange({ chosen: toggle(draft.chosen, model, event.target.checked) })
              }
            />
          ))}
        </div>
      )}
      <TextArea
        label={t(known.length > 0 ? "models.others.label" : "models.others.only")}
        hint={t("models.others.hint")}
        rows={2}
        value={draft.others}
        onChange={(event) => onChange({ others: event.target.value })}
        spellCheck={false}
      />
    </div>
  );
}

function toDraft(access: ModelAccess, known: readonly string[]): Draft {
  return {
    kind: access.kind,
    chosen: access.allowed.filter((name) => known.includes(name)),
    others: access.allowed.filter((name) => !known.includes(name)).join("\n"),
    denied: access.denied.join("\n"),
  };
}

function toModels({ kind, chosen, others, denied }: Draft): string[] | null {
  return writeAccess({
    kind,
    allowed: [...new Set([...chosen, ...lines(others)])],
    denied: lines(denied),
  });
}

/** The lines that say something. A comma separates too. */
function lines(text: string): string[] {
  return text
    .split(/[\n,]/)
    .map((line) => line.trim().replace(/^!/, ""))
    .filter((line) => line !== "");
}

function toggle(names: readonly string[], name: string, isChosen: boolean): string[] {
  const others = names.filter((each) => each !== name);
  return isChosen ? [...others, name] : others;
}
