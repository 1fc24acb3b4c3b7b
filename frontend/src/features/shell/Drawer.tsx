import type { ReactNode } from "react";
import { useModal } from "@/components/use-modal";

interface Props {
  label: string;
  onClose: () => void;
  children: ReactNode;
}

/** The navigation on narrow screens: a modal dialog at the edge. */
export function Drawer({ label, onClose, children }: Props) {
  const ref = useModal();
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape does the same, as `onCancel`
    <dialog
      ref={ref}
      aria-label={label}
      onCancel={onClose}
      onClick={(event) => event.target === event.currentTarget && onClose()}
      className="m-0 h-dvh max-h-none w-72 max-w-[85vw] border-line border-e bg-surface p-0 text-text shadow-overlay"
    >
      {children}
    </dialog>
  );
}
