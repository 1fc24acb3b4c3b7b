import type { Directory } from "@/api/names";
import { texts } from "@/lib/text";
import en from "@/locales/en/names.json";

const t = texts("names", en);

/** The address of a user, or what is known of a user who has none any more. */
export function userName(directory: Directory, id: number): string {
  const email = directory.users.get(id);
  if (email !== undefined) return email;
  return t(directory.isKnown(id) ? "deletedUser" : "user", { id });
}

/** The label of a key, or its id. Null: a signed-in person without a key. */
export function keyName(directory: Directory, id: number | null): string {
  if (id === null) return t("session");
  const label = directory.keys.get(id)?.label.trim() ?? "";
  return label === "" ? t("key", { id }) : label;
}

/** A model as Ollama prints it: without the host and the folder that most models share. */
export function modelName(canonical: string): string {
  return canonical.replace(/^registry\.ollama\.ai\/(library\/)?/, "");
}
