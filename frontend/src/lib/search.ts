/**
 * Readers of search parameters, for `validateSearch`. A value of another form is left out, so that
 * a mistyped link opens the page instead of failing.
 */

/** Any text. The router parses `?q=12` as a number. */
export function text(value: unknown): string | undefined {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** A whole number of at least 1, such as an id or a page. */
export function positive(value: unknown): number | undefined {
  const number = Number(value);
  return Number.isSafeInteger(number) && number >= 1 ? number : undefined;
}

export function oneOf<const Choice extends string>(
  choices: readonly Choice[],
  value: unknown,
): Choice | undefined {
  return choices.find((choice) => choice === value);
}

/** Removes absent values, so that they do not appear in the URL. */
export function compact<T extends object>(search: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const present = Object.entries(search).filter(([, value]) => value !== undefined && value !== "");
  return Object.fromEntries(present) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** A path of this application. Anything that a browser could read as another host is left out. */
export function localPath(value: unknown): string | undefined {
  return typeof value === "string" && /^\/(?![/\\])/.test(value) ? value : undefined;
}
