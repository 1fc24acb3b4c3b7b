import { useQuery } from "@tanstack/react-query";
import { SlidersHorizontal, X } from "lucide-react";
import { useId, useState } from "react";
import { Button } from "@/components/Button";
import { SearchField } from "@/components/SearchField";
import { Select } from "@/components/Select";
import { ownerQuery } from "@/features/credentials/queries";
import {
  type ChangeSearch,
  EXPIRIES,
  isFiltered,
  type KeysSearch,
  NO_FILTER,
  OWNERSHIPS,
  SCOPES,
  STATES,
  USES,
} from "@/features/credentials/search";
import { t } from "@/features/credentials/text";
import { oneOf } from "@/lib/search";

interface Props {
  search: KeysSearch;
  onSearch: ChangeSearch;
}

/** The search, the ready filters, and on request a filter for each column. */
export function KeyFilters({ search, onSearch }: Props) {
  const id = useId();
  const [isOpen, setIsOpen] = useState(() => hasColumnFilter(search));
  const filter: ChangeSearch = (change, options) =>
    onSearch({ ...change, page: undefined }, options);
  const expiresSoon = search.expires === "7d";
  const neverUsed = search.used === "never";
  return (
    <div className="flex flex-col gap-3 px-4 pt-4 pb-2">
      <div className="flex flex-wrap items-center gap-2">
        <div className="min-w-0 grow basis-64">
          <SearchField
            label={t("filter.search")}
            value={search.q ?? ""}
            onSearch={(q) => filter({ q }, { replace: true })}
          />
        </div>
        <Toggle
          label={t("filter.expiring")}
          isOn={expiresSoon}
          onToggle={() => filter({ expires: expiresSoon ? undefined : "7d" })}
        />
        <Toggle
          label={t("filter.neverUsed")}
          isOn={neverUsed}
          onToggle={() => filter({ used: neverUsed ? undefined : "never" })}
        />
        <Button
          icon={SlidersHorizontal}
          aria-expanded={isOpen}
          aria-controls={id}
          onClick={() => setIsOpen(!isOpen)}
        >
          {t("filter.more")}
        </Button>
        {isFiltered(search) && (
          <Button variant="quiet" icon={X} onClick={() => onSearch(NO_FILTER)}>
            {t("filter.clear")}
          </Button>
        )}
      </div>
      {search.owner !== undefined && (
        <OwnerChip id={search.owner} onRemove={() => filter({ owner: undefined })} />
      )}
      <div
        id={id}
        hidden={!isOpen}
        className="grid grid-cols-2 gap-3 not-[[hidden]]:grid sm:grid-cols-3 xl:grid-cols-6"
      >
        <ColumnFilters search={search} onSearch={filter} />
      </div>
    </div>
  );
}

function ColumnFilters({ search, onSearch }: Props) {
  return (
    <>
      <Select
        label={t("filter.state")}
        value={search.state ?? ""}
        options={STATE_OPTIONS}
        onChange={(event) => onSearch({ state: oneOf(STATES, event.target.value) })}
      />
      <Select
        label={t("filter.scope")}
        value={search.scope ?? ""}
        options={SCOPE_OPTIONS}
        onChange={(event) => onSearch({ scope: oneOf(SCOPES, event.target.value) })}
      />
      <div className="flex min-w-0 flex-col gap-1">
        <span aria-hidden className="font-medium text-sm">
          {t("filter.model")}
        </span>
        <SearchField
          label={t("filter.anyModel")}
          value={search.model ?? ""}
          onSearch={(model) => onSearch({ model }, { replace: true })}
        />
      </div>
      <Select
        label={t("filter.used")}
        value={search.used ?? ""}
        options={USE_OPTIONS}
        onChange={(event) => onSearch({ used: oneOf(USES, event.target.value) })}
      />
      <Select
        label={t("filter.expires")}
        value={search.expires ?? ""}
        options={EXPIRY_OPTIONS}
        onChange={(event) => onSearch({ expires: oneOf(EXPIRIES, event.target.value) })}
      />
      <Select
        label={t("filter.managed")}
        value={search.managed ?? ""}
        options={MANAGED_OPTIONS}
        onChange={(event) => onSearch({ managed: oneOf(OWNERSHIPS, event.target.value) })}
      />
    </>
  );
}

interface ToggleProps {
  label: string;
  isOn: boolean;
  onToggle: () => void;
}

/** A filter that is on or off. */
function Toggle({ label, isOn, onToggle }: ToggleProps) {
  return (
    <button
      type="button"
      aria-pressed={isOn}
      onClick={onToggle}
      className="min-h-8.5 rounded-full border border-edge bg-surface px-3 text-sm motion-safe:transition-colors hover:bg-hover aria-pressed:border-accent aria-pressed:bg-accent-soft aria-pressed:font-medium aria-pressed:text-accent-text"
    >
      {label}
    </button>
  );
}

/** Says that the list shows one owner's keys only. */
function OwnerChip({ id, onRemove }: { id: number; onRemove: () => void }) {
  const owner = useQuery(ownerQuery(id));
  const name = owner.data?.email ?? t("filter.loadingOwner", { id });
  return (
    <p className="flex flex-wrap items-center gap-2 text-sm">
      {t("filter.owner", { owner: name })}
      <Button size="sm" onClick={onRemove}>
        {t("filter.removeOwner")}
      </Button>
    </p>
  );
}

function hasColumnFilter({ state, scope, model, managed, expires, used }: KeysSearch): boolean {
  const isReady = (expires ?? "7d") === "7d" && (used ?? "never") === "never";
  return !isReady || [state, scope, model, managed].some((each) => each !== undefined);
}

const STATE_OPTIONS = [
  { value: "", label: t("filter.usable") },
  ...STATES.map((value) => ({
    value,
    label: value === "all" ? t("filter.all") : t(`state.${value}`),
  })),
];

const SCOPE_OPTIONS = [
  { value: "", label: t("filter.anyScope") },
  ...SCOPES.map((value) => ({ value, label: value })),
];

const USE_OPTIONS = [
  { value: "", label: t("filter.anyUse") },
  { value: "never", label: t("filter.never") },
  { value: "used", label: t("filter.everUsed") },
];

const EXPIRY_OPTIONS = [
  { value: "", label: t("filter.anyExpiry") },
  ...EXPIRIES.map((value) => ({ value, label: t(`filter.${value}`) })),
];

const MANAGED_OPTIONS = [
  { value: "", label: t("filter.anyone") },
  { value: "api", label: t("filter.api") },
  { value: "kubernetes", label: t("filter.kubernetes") },
];
