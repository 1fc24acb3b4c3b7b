import type { LucideIcon } from "lucide-react";
import type { ComponentProps, MouseEvent } from "react";
import { Spinner } from "@/components/Spinner";

type Variant = "primary" | "secondary" | "quiet" | "danger" | "outlineDanger";

interface Props extends Omit<ComponentProps<"button">, "className" | "children"> {
  /** The visible text: a verb, or a verb and its object. */
  children: string;
  variant?: Variant;
  size?: "md" | "sm";
  icon?: LucideIcon;
  /** Shows a spinner and ignores clicks, but keeps the focus, unlike `disabled`. */
  isBusy?: boolean;
  /** The object of a verb that is on the page more than once: “Select” is named “Select <target>”. */
  target?: string | undefined;
  /** For a text of any length, such as an address: it wraps where it is wider than its place. */
  isLong?: boolean;
}

const VARIANTS: Record<Variant, string> = {
  primary:
    "border-transparent bg-accent text-on-accent font-medium not-disabled:hover:bg-accent-hover",
  secondary: "border-outline bg-surface text-text not-disabled:hover:bg-hover",
  outlineDanger:
    "border-outline bg-surface text-danger-text not-disabled:hover:bg-danger-soft not-disabled:hover:border-transparent",
  quiet: "border-transparent text-text not-disabled:hover:bg-hover",
  danger:
    "border-transparent bg-danger text-on-danger font-medium not-disabled:hover:bg-danger-hover",
};

const SIZES = {
  md: "min-h-8.5 px-3 gap-2",
  sm: "min-h-7 px-2 gap-1.5 text-sm",
};

/** A button. It submits no form unless `type="submit"`. */
export function Button({
  variant = "secondary",
  size = "md",
  icon: Icon,
  isBusy = false,
  target,
  isLong = false,
  children,
  onClick,
  type = "button",
  ...rest
}: Props) {
  const press = (event: MouseEvent<HTMLButtonElement>) => {
    if (isBusy) event.preventDefault();
    else onClick?.(event);
  };
  return (
    <button
      {...rest}
      type={type}
      onClick={press}
      aria-label={target === undefined ? undefined : `${children} ${target}`}
      aria-disabled={isBusy || undefined}
      className={`inline-flex items-center justify-center rounded-md border ${isLong ? "max-w-full text-start wrap-anywhere" : "shrink-0 whitespace-nowrap"} motion-safe:transition-colors disabled:opacity-55 ${VARIANTS[variant]} ${SIZES[size]}`}
    >
      {isBusy ? <Spinner /> : Icon !== undefined && <Icon aria-hidden className="size-4" />}
      {children}
    </button>
  );
}
