import type { Model } from "@/features/models/queries";
import type { ModelsSearch } from "@/features/models/search";

/**
 * How the backends differ in a model: in its version, or in that some lack it. Backends that do not
 * answer say nothing.
 */
export function differenceOf({ backends }: Model): "version" | "missing" | undefined {
  const present = backends.filter((backend) => backend.present === true);
  if (new Set(present.map(({ digest }) => digest)).size > 1) return "version";
  const isMissing = backends.some((backend) => backend.present === false);
  return isMissing && present.length > 0 ? "missing" : undefined;
}

export function isPresent({ backends }: Model): boolean {
  return backends.some((backend) => backend.present === true);
}

/** The models that a search shows. */
export function matching(models: readonly Model[], { q = "", show }: ModelsSearch): Model[] {
  const wanted = q.toLowerCase();
  return models.filter(
    (model) =>
      (model.name.toLowerCase().includes(wanted) || model.model.includes(wanted)) &&
      (show === undefined || FILTERS[show](model)),
  );
}

const FILTERS: Record<NonNullable<ModelsSearch["show"]>, (model: Model) => boolean> = {
  loaded: ({ backends }) => backends.some((backend) => backend.loaded),
  differing: (model) => differenceOf(model) !== undefined,
  managed: ({ managed_by }) => managed_by.length > 0,
  pulling: ({ pull }) => pull !== null,
};
