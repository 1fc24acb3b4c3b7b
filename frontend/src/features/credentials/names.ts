import type { Key } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";

/** What a key is called in sentences and on buttons. */
export function nameOf(key: Pick<Key, "id" | "label">): string {
  return key.label.trim() === "" ? t("name.none", { id: key.id }) : key.label;
}

/** The same in a list, where two keys may have one label: then with the id. */
export function nameAmong(key: Key, keys: readonly Key[]): string {
  const isUnique = keys.every((other) => other.id === key.id || other.label !== key.label);
  const { id, label } = key;
  return isUnique || label.trim() === "" ? nameOf(key) : t("name.same", { label, id });
}

export function ownerOf(key: Key): string {
  return key.user_email ?? t("list.deleted");
}

/** Whether the key can still be changed and rotated, as far as its state says. */
export function hasEnded(key: Key): boolean {
  return key.state === "revoked" || key.state === "expired";
}

/** The Kubernetes object as `namespace/name`. */
export function objectOf(key: Key): string | undefined {
  return key.managed_by === null ? undefined : `${key.managed_by.namespace}/${key.managed_by.name}`;
}
