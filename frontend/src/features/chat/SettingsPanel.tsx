import { X } from "lucide-react";
import type { Capability } from "@/api/own-models";
import { Button } from "@/components/Button";
import { IconButton } from "@/components/IconButton";
import { Select } from "@/components/Select";
import { TextArea } from "@/components/TextArea";
import { TextField } from "@/components/TextField";
import {
  countSettings,
  NO_FIELDS,
  NUMBERS,
  readSettings,
  type SettingsFields,
} from "@/features/chat/settings";
import { t } from "@/features/chat/text";

interface Props {
  fields: SettingsFields;
  onChange: (fields: SettingsFields) => void;
  onClose: () => void;
  /** What the model can do; null if unknown. */
  capabilities: Capability[] | null;
}

const THINKING_OPTIONS = [
  { value: "", label: t("settings.thinking.model") },
  { value: "on", label: t("settings.thinking.on") },
  { value: "off", label: t("settings.thinking.off") },
];

/** What applies to the next questions: the system prompt and the sampling options. */
export function SettingsPanel({ fields, onChange, onClose, capabilities }: Props) {
  const { wrong } = readSettings(fields);
  const set = (name: keyof SettingsFields, value: string) => onChange({ ...fields, [name]: value });
  return (
    <section aria-labelledby="chat-settings" className="flex flex-col gap-3 p-4">
      <div className="flex items-center justify-between gap-2">
        <h2 id="chat-settings" className="font-semibold">
          {t("settings.title")}
        </h2>
        <div className="-m-1.5">
          <IconButton icon={X} label={t("settings.close")} onClick={onClose} />
        </div>
      </div>
      <p className="text-muted text-sm">{t("settings.description")}</p>
      <TextArea
        label={t("settings.system.label")}
        placeholder={t("settings.system.example")}
        value={fields.system}
        onChange={(event) => set("system", event.target.value)}
      />
      <div className="grid grid-cols-[repeat(auto-fit,minmax(9rem,1fr))] items-start gap-3">
        {NUMBERS.map((name) => (
          <TextField
            key={name}
            label={t(`settings.${name}.label`)}
            hint={t(`settings.${name}.hint`)}
            error={wrong.includes(name) ? t(`settings.${name}.rule`) : undefined}
            placeholder={t("settings.modelsOwn")}
            inputMode={name === "temperature" || name === "topP" ? "decimal" : "numeric"}
            autoComplete="off"
            value={fields[name]}
            onChange={(event) => set(name, event.target.value)}
          />
        ))}
      </div>
      {(capabilities?.includes("thinking") === true || fields.thinking !== "") && (
        <Select
          label={t("settings.thinking.label")}
          options={THINKING_OPTIONS}
          value={fields.thinking}
          onChange={(event) => set("thinking", event.target.value)}
        />
      )}
      <div>
        <Button
          size="sm"
          disabled={countSettings(fields) === 0}
          onClick={() => onChange(NO_FIELDS)}
        >
          {t("settings.reset")}
        </Button>
      </div>
    </section>
  );
}
