import { Select } from "@/components/Select";
import { TextField } from "@/components/TextField";
import { EXPIRY_OPTIONS, type Expiry, expiryTime } from "@/features/credentials/expiry";
import { t } from "@/features/credentials/text";
import { useNow } from "@/lib/clock";
import { absoluteTime } from "@/lib/time";

interface Props {
  value: Expiry;
  onChange: (value: Expiry) => void;
  /** For an existing key: the choice that changes nothing. */
  keep?: string;
  error?: string | undefined;
}

/** When a key ends: a preset, a time, or never. */
export function ExpiryField({ value, onChange, keep, error }: Props) {
  const now = useNow(60_000);
  const options =
    keep === undefined ? EXPIRY_OPTIONS : [{ value: "keep", label: keep }, ...EXPIRY_OPTIONS];
  return (
    <div className="flex min-w-0 flex-col gap-3">
      <Select
        label={t("expiry.label")}
        options={options}
        value={value.choice}
        error={value.choice === "date" ? undefined : error}
        hint={hintFor(value, now)}
        onChange={(event) => onChange({ ...value, choice: event.target.value })}
      />
      {value.choice === "date" && (
        <TextField
          label={t("expiry.time")}
          type="datetime-local"
          value={value.date}
          error={error}
          onChange={(event) => onChange({ ...value, date: event.target.value })}
        />
      )}
    </div>
  );
}

function hintFor(value: Expiry, now: number): string | undefined {
  if (value.choice === "never") return t("expiry.neverHint");
  if (value.choice === "keep" || value.choice === "date") return undefined;
  const time = expiryTime(value, now);
  return time == null ? undefined : t("expiry.on", { time: absoluteTime(time) });
}
