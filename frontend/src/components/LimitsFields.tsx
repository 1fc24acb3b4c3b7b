import type { components } from "@/api/schema";
import { TextField } from "@/components/TextField";
import { t } from "@/components/text";

type Limits = components["schemas"]["Limits"];

const NAMES = [
  "requests_per_minute",
  "tokens_per_minute",
  "tokens_per_day",
  "tokens_per_month",
  "max_concurrent",
] as const satisfies (keyof Limits)[];

/** Beyond this, a number is not exact in JavaScript. */
const MAX_DIGITS = 15;

interface Props {
  value: Limits;
  onChange: (value: Limits) => void;
  /** Whose limits they are: without a value, a user has the server's default and a key has none. */
  of: "user" | "key";
  /** What the server says about a limit, usually `(name) => fieldError(error, \`/limits/${name}\`)`. */
  errorOf?: (name: keyof Limits) => string | undefined;
}

/** The limits of a user or a key. An empty field removes the limit. */
export function LimitsFields({ value, onChange, of, errorOf }: Props) {
  return (
    <div className="grid gap-3 sm:grid-cols-2">
      {NAMES.map((name) => (
        <TextField
          key={name}
          label={t(`limits.${name}`)}
          hint={name === "requests_per_minute" ? t(`limits.hint.${of}`) : undefined}
          error={errorOf?.(name)}
          inputMode="numeric"
          autoComplete="off"
          placeholder={t(
            name === "requests_per_minute" && of === "user" ? "limits.default" : "limits.none",
          )}
          value={value[name] ?? ""}
          onChange={(event) => onChange({ ...value, [name]: toLimit(event.target.value) })}
        />
      ))}
    </div>
  );
}

/** In words which limits are set. */
export function LimitsText({ limits, of }: { limits: Limits; of: "user" | "key" }) {
  const set = NAMES.flatMap((name) => {
    const limit = limits[name];
    return limit === null ? [] : [t(`limits.words.${name}`, { count: limit })];
  });
  return <span>{set.length === 0 ? t(`limits.empty.${of}`) : set.join(", ")}</span>;
}

/** Letters and separators that were typed or pasted are dropped. */
function toLimit(text: string): number | null {
  const digits = text.replace(/\D/g, "").slice(0, MAX_DIGITS);
  return digits === "" ? null : Number(digits);
}
