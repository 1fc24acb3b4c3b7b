import type { LucideIcon } from "lucide-react";
import type { ComponentProps } from "react";

interface Props extends Omit<ComponentProps<"button">, "className" | "children" | "type"> {
  icon: LucideIcon;
  /** The accessible name, also shown as a tooltip. Unique on its page. */
  label: string;
}

export function IconButton({ icon: Icon, label, ...rest }: Props) {
  return (
    <button
      {...rest}
      type="button"
      aria-label={label}
      title={label}
      className="inline-flex size-8 shrink-0 items-center justify-center rounded-md text-muted motion-safe:transition-colors hover:bg-hover hover:text-text disabled:opacity-55"
    >
      <Icon aria-hidden className="size-4" />
    </button>
  );
}
