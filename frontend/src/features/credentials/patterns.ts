const DEFAULT_REGISTRY = "registry.ollama.ai";
const DEFAULT_NAMESPACE = "library";

/**
 * Whether a list of model patterns allows a model, for choosing an example. The server decides: it
 * knows more forms of names.
 */
export function allowsModel(patterns: readonly string[] | null, model: string): boolean {
  if (patterns === null) return true;
  const denied = patterns.filter((pattern) => pattern.startsWith("!"));
  const allowed = patterns.filter((pattern) => !pattern.startsWith("!"));
  return (
    allowed.some((pattern) => matches(pattern, model)) &&
    !denied.some((pattern) => matches(pattern.slice(1), model))
  );
}

function matches(pattern: string, model: string): boolean {
  if (pattern === "*") return true;
  const expression = complete(pattern, "*")
    .replace(/[.+?^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", "[^/:]*");
  return new RegExp(`^${expression}$`, "i").test(complete(model, "latest"));
}

/** The name with registry, namespace and tag. */
function complete(name: string, tag: string): string {
  const parts = name.split("/");
  const last = parts.at(-1) ?? "";
  const tagged = last.includes(":") ? name : `${name}:${tag}`;
  if (parts.length === 1) return `${DEFAULT_REGISTRY}/${DEFAULT_NAMESPACE}/${tagged}`;
  return parts.length === 2 ? `${DEFAULT_REGISTRY}/${tagged}` : tagged;
}
