import { Search } from "lucide-react";
import { t } from "@/features/shell/text";
import { IS_MAC } from "@/features/shell/use-palette";

/** Opens the command palette, and shows the keys that do so anywhere. */
export function PaletteButton({ onOpen }: { onOpen: () => void }) {
  return (
    <button
      type="button"
      aria-haspopup="dialog"
      aria-keyshortcuts={IS_MAC ? "Meta+K" : "Control+K"}
      onClick={onOpen}
      className="flex min-h-8 w-full items-center gap-2.5 rounded-md border border-outline px-2 text-muted text-sm hover:bg-hover"
    >
      <Search aria-hidden className="size-4 shrink-0" />
      {t("palette.open")}
      <kbd aria-hidden className="ms-auto max-lg:hidden rounded bg-subtle px-1.5 font-sans text-xs">
        {IS_MAC ? "⌘K" : "Ctrl K"}
      </kbd>
    </button>
  );
}
