import type { Directory } from "@/api/names";
import { FilterChip } from "@/components/FilterChip";
import type { ChangeSearch, UsageSearch } from "@/features/usage/search";
import { t } from "@/features/usage/text";
import { keyName, modelName, userName } from "@/lib/names";

interface Props {
  search: UsageSearch;
  directory: Directory;
  onSearch: ChangeSearch;
}

/** The user, key and model that the page is narrowed to. */
export function Filters({ search, directory, onSearch }: Props) {
  const { user, key, model } = search;
  if (user === undefined && key === undefined && model === undefined) return null;
  return (
    <div className="flex min-w-0 flex-wrap items-center gap-2">
      {user !== undefined && (
        <FilterChip onRemove={() => onSearch({ user: undefined, page: undefined })}>
          {t("filter.user", { name: userName(directory, user) })}
        </FilterChip>
      )}
      {key !== undefined && (
        <FilterChip onRemove={() => onSearch({ key: undefined, page: undefined })}>
          {t("filter.key", { name: keyName(directory, key) })}
        </FilterChip>
      )}
      {model !== undefined && (
        <FilterChip onRemove={() => onSearch({ model: undefined, page: undefined })}>
          {t("filter.model", { name: modelName(model) })}
        </FilterChip>
      )}
    </div>
  );
}
