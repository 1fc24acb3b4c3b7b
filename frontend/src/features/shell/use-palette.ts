import { useEffect, useState } from "react";

export const IS_MAC = /Mac|iPhone|iPad/.test(navigator.userAgent);

/** Whether the command palette is open. Ctrl+K or ⌘K opens and closes it anywhere on the page. */
export function usePalette(): [isOpen: boolean, setIsOpen: (isOpen: boolean) => void] {
  const [isOpen, setIsOpen] = useState(false);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const hasModifier = IS_MAC ? event.metaKey : event.ctrlKey;
      if (!hasModifier || event.shiftKey || event.altKey || event.key.toLowerCase() !== "k") return;
      event.preventDefault();
      setIsOpen((was) => !was);
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
  return [isOpen, setIsOpen];
}
