import { useSyncExternalStore } from "react";

export const THEMES = ["system", "light", "dark"] as const;

export type Theme = (typeof THEMES)[number];

const STORAGE_KEY = "paddock-theme";
const listeners = new Set<() => void>();

/** Applies the stored choice. The style sheet turns `data-theme` into a `color-scheme`. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = storedTheme();
}

export function setTheme(theme: Theme): void {
  try {
    localStorage.setItem(STORAGE_KEY, theme);
  } catch {
    // Storage may be full or blocked. The choice then holds until the next load.
  }
  document.documentElement.dataset.theme = theme;
  for (const listener of listeners) listener();
}

export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, currentTheme);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function currentTheme(): Theme {
  return toTheme(document.documentElement.dataset.theme);
}

function storedTheme(): Theme {
  try {
    return toTheme(localStorage.getItem(STORAGE_KEY));
  } catch {
    return "system";
  }
}

function toTheme(value: unknown): Theme {
  return THEMES.find((theme) => theme === value) ?? "system";
}
