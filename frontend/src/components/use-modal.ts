import { type RefObject, useLayoutEffect, useRef } from "react";

/**
 * Opens a `<dialog>` as a modal while it is mounted. The focus starts on the element with
 * `data-initial-focus`, else on the first control, and returns to where it was.
 */
export function useModal(): RefObject<HTMLDialogElement | null> {
  const ref = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const dialog = ref.current;
    if (dialog === null) return undefined;
    if (!dialog.open) dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-initial-focus]")?.focus();
    // Closing before the element is removed gives the focus back.
    return () => dialog.close();
  }, []);
  return ref;
}
