import { X } from "lucide-react";
import { t } from "@/components/text";

interface Props {
  /** What is filtered and to what, as in “User: ada@example.com”. */
  children: string;
  onRemove: () => void;
}

/** A filter that is in effect, with a button that removes it. */
export function FilterChip({ children, onRemove }: Props) {
  return (
    <span className="inline-flex min-h-7 min-w-0 items-center gap-0.5 rounded-md border border-line bg-surface ps-2 text-sm">
      <span className="min-w-0 wrap-anywhere">{children}</span>
      <button
        type="button"
        aria-label={t("filter.remove", { filter: children })}
        title={t("filter.remove", { filter: children })}
        onClick={onRemove}
        className="inline-flex size-6.5 shrink-0 items-center justify-center rounded-md text-muted hover:bg-hover hover:text-text"
      >
        <X aria-hidden className="size-3.5" />
      </button>
    </span>
  );
}
