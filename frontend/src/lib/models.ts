const DEFAULT_REGISTRY = "registry.ollama.ai/";
const DEFAULT_NAMESPACE = "library/";
const EVERY_TAG = ":*";

/**
 * A pattern or a name as people write it: without the registry and namespace that Ollama adds, and
 * without the tag if every tag matches. `registry.ollama.ai/library/smollm2:*` is `smollm2`.
 */
export function shortModel(pattern: string): string {
  if (pattern.startsWith("!")) return `!${shortModel(pattern.slice(1))}`;
  let short = pattern;
  if (short.startsWith(DEFAULT_REGISTRY)) {
    short = short.slice(DEFAULT_REGISTRY.length);
    if (short.startsWith(DEFAULT_NAMESPACE)) short = short.slice(DEFAULT_NAMESPACE.length);
  }
  return short.endsWith(EVERY_TAG) ? short.slice(0, -EVERY_TAG.length) : short;
}

/** What a list of model patterns means. */
export interface ModelAccess {
  kind: "all" | "some" | "none";
  /** With `some`: what is allowed, in short form. */
  allowed: string[];
  /** What is denied, in short form and without `!`. */
  denied: string[];
}

/** Reads `models` of a user or a key: null allows every model, an empty list none. */
export function readAccess(models: readonly string[] | null): ModelAccess {
  if (models === null) return { kind: "all", allowed: [], denied: [] };
  const short = models.map(shortModel);
  const denied = short.filter((each) => each.startsWith("!")).map((each) => each.slice(1));
  const allowed = short.filter((each) => !each.startsWith("!"));
  if (allowed.length === 0) return { kind: "none", allowed: [], denied: [] };
  return allowed.includes("*")
    ? { kind: "all", allowed: [], denied }
    : { kind: "some", allowed, denied };
}

/** The opposite of `readAccess`. */
export function writeAccess({ kind, allowed, denied }: ModelAccess): string[] | null {
  const denials = denied.map((each) => `!${each}`);
  if (kind === "all") return denials.length === 0 ? null : ["*", ...denials];
  return kind === "some" && allowed.length > 0 ? [...allowed, ...denials] : [];
}

/** Whether the name is that of a model for embeddings, for choosing another one to chat with. */
export function isNamedForEmbeddings(model: string): boolean {
  return /embed|minilm|bge/i.test(model);
}
