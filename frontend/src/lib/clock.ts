import { useSyncExternalStore } from "react";

/** One timer for everything on the page that shows a passing time. */
const TICK_INTERVAL = 1_000;

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    for (const each of listeners) each();
  }, TICK_INTERVAL);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The time in milliseconds since the epoch, rounded down to `step`; renders again when it changes. */
export function useNow(step = TICK_INTERVAL): number {
  return useSyncExternalStore(subscribe, () => Math.floor(Date.now() / step) * step);
}

/** The whole seconds until `at`, in milliseconds since the epoch; 0 afterwards or without a time. */
export function useSecondsUntil(at: number | undefined): number {
  return useSyncExternalStore(at === undefined ? subscribeToNothing : subscribe, () =>
    at === undefined ? 0 : Math.max(0, Math.ceil((at - Date.now()) / 1000)),
  );
}

function subscribeToNothing(): () => void {
  return () => undefined;
}
