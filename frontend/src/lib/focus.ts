import { type RefObject, useEffect } from "react";

/**
 * After each failed attempt, moves the focus to the first field that is marked as wrong. `mistakes`
 * and `error` are what was found before the request and what the server said; each attempt has
 * objects of its own.
 */
export function useFocusOnMistake(
  form: RefObject<HTMLElement | null>,
  mistakes: object,
  error: unknown,
) {
  // biome-ignore lint/correctness/useExhaustiveDependencies: they say that there was an attempt
  useEffect(() => {
    form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [form, mistakes, error]);
}
