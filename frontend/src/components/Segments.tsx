import { useId } from "react";

interface Props<Value extends string> {
  /** What is chosen. Unique on its page. */
  label: string;
  value: Value;
  options: readonly { value: Value; label: string }[];
  onChange: (value: Value) => void;
}

/** One choice of a few, all visible: radio buttons in the form of a bar. */
export function Segments<Value extends string>({ label, value, options, onChange }: Props<Value>) {
  const name = useId();
  return (
    <fieldset className="inline-flex max-w-full flex-wrap gap-0.5 rounded-lg bg-subtle p-0.5">
      <legend className="sr-only">{label}</legend>
      {options.map((option) => (
        <label
          key={option.value}
          className="relative inline-flex min-h-7 cursor-pointer items-center rounded-md border border-transparent px-2.5 text-muted text-sm outline-offset-1 outline-accent hover:text-text has-checked:border-line has-checked:bg-surface has-checked:font-medium has-checked:text-text has-focus-visible:outline-2"
        >
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            onChange={() => onChange(option.value)}
            className="absolute inset-0 cursor-pointer opacity-0"
          />
          {option.label}
        </label>
      ))}
    </fieldset>
  );
}
