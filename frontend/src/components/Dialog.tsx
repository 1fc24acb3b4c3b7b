import { X } from "lucide-react";
import { type ReactNode, useId } from "react";
import { IconButton } from "@/components/IconButton";
import { t } from "@/components/text";
import { useModal } from "@/components/use-modal";

interface Props {
  title: string;
  /** Called on Escape, the close button and a click beside the dialog. The owner then unmounts it. */
  onClose: () => void;
  /** Keeps the dialog open until its own buttons close it, as for a secret that is shown once. */
  isModalOnly?: boolean;
  size?: "sm" | "md" | "lg";
  children: ReactNode;
}

const SIZES = { sm: "max-w-md", md: "max-w-xl", lg: "max-w-4xl" };

/** A modal dialog, open while it is mounted. See `useModal` for the focus. */
export function Dialog({ title, onClose, isModalOnly = false, size = "md", children }: Props) {
  const ref = useModal();
  const titleId = useId();
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape does the same, as `onCancel`
    <dialog
      ref={ref}
      aria-labelledby={titleId}
      closedby={isModalOnly ? "none" : "closerequest"}
      onClose={() => {
        // Browsers without `closedby` close on a second Escape, whatever `onCancel` says.
        if (isModalOnly && ref.current?.open === false) ref.current.showModal();
      }}
      onCancel={(event) => {
        event.preventDefault();
        if (!isModalOnly) onClose();
      }}
      onClick={(event) => {
        if (!isModalOnly && event.target === event.currentTarget) onClose();
      }}
      className={`m-auto w-[calc(100%-2rem)] rounded-xl border border-line bg-raised p-0 text-text shadow-overlay ${SIZES[size]}`}
    >
      <div className="flex flex-col gap-4 p-5">
        <div className="flex items-start justify-between gap-3">
          <h2 id={titleId} className="font-semibold text-lg wrap-anywhere">
            {title}
          </h2>
          {!isModalOnly && (
            <div className="-m-1.5">
              <IconButton icon={X} label={t("close")} onClick={onClose} />
            </div>
          )}
        </div>
        {children}
      </div>
    </dialog>
  );
}

/** The buttons of a dialog, at its lower end. */
export function DialogActions({ children }: { children: ReactNode }) {
  return <div className="flex flex-wrap justify-end gap-2 pt-1">{children}</div>;
}
