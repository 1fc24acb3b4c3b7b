import { lazy, Suspense, useState } from "react";
import { useModal } from "@/components/use-modal";
import { t } from "@/features/shell/text";

const Palette = lazy(() => import("@/features/shell/Palette"));

/** The command palette, and the field to type in while it is loaded. */
export function PaletteHost({ onClose }: { onClose: () => void }) {
  const [typed, setTyped] = useState("");
  return (
    <Suspense fallback={<Loading words={typed} onType={setTyped} onClose={onClose} />}>
      <Palette typed={typed} onClose={onClose} />
    </Suspense>
  );
}

interface Props {
  words: string;
  onType: (words: string) => void;
  onClose: () => void;
}

/** Keeps what is typed. */
function Loading({ words, onType, onClose }: Props) {
  const dialog = useModal();
  return (
    <dialog
      ref={dialog}
      aria-label={t("palette.title")}
      aria-busy
      onCancel={onClose}
      className="mx-auto mt-[12vh] w-[calc(100%-2rem)] max-w-xl overflow-hidden rounded-xl border border-line bg-raised p-0 text-text shadow-overlay"
    >
      <input
        type="text"
        data-initial-focus
        aria-label={t("palette.title")}
        autoComplete="off"
        spellCheck={false}
        maxLength={200}
        placeholder={t("palette.placeholder")}
        value={words}
        onChange={(event) => onType(event.target.value)}
        className="w-full px-4 py-3 text-lg outline-none"
      />
    </dialog>
  );
}
