import { useId } from "react";
import type { Directory } from "@/api/names";
import { Select } from "@/components/Select";
import { TextField } from "@/components/TextField";
import { type Errors, shownActor } from "@/features/audit/form";
import { type AuditSearch, RESULTS } from "@/features/audit/search";
import { t } from "@/features/audit/text";
import { toLocal } from "@/features/audit/times";
import { userName } from "@/lib/names";

interface Props {
  search: AuditSearch;
  directory: Directory;
  errors: Errors;
}

/** The most addresses that are suggested. */
const MAX_SUGGESTIONS = 200;

/** The less usual filters. */
export function MoreFilters({ search, directory, errors }: Props) {
  const addressesId = useId();
  const keysId = useId();
  const { user, key, actor, since, until } = search;
  return (
    <div className="mt-3 grid items-start gap-3 sm:grid-cols-2 xl:grid-cols-4">
      <TextField
        label={t("filter.user")}
        hint={t("filter.userHint")}
        name="user"
        list={addressesId}
        defaultValue={user === undefined ? "" : userName(directory, user)}
        error={errors.user}
        autoComplete="off"
        spellCheck={false}
      />
      <TextField
        label={t("filter.actor")}
        hint={t("filter.actorHint")}
        name="actor"
        list={addressesId}
        defaultValue={shownActor(actor, directory)}
        error={errors.actor}
        autoComplete="off"
        spellCheck={false}
      />
      <TextField
        label={t("filter.since")}
        name="since"
        type="datetime-local"
        step={1}
        defaultValue={toLocal(since)}
      />
      <TextField
        label={t("filter.until")}
        name="until"
        type="datetime-local"
        step={1}
        defaultValue={toLocal(until)}
        error={errors.until}
      />
      <TextField
        label={t("filter.key")}
        hint={t("filter.keyHint")}
        name="key"
        inputMode="numeric"
        list={keysId}
        defaultValue={key ?? ""}
        error={errors.key}
        autoComplete="off"
      />
      <TextField
        label={t("filter.target")}
        hint={t("filter.targetHint")}
        name="target"
        maxLength={200}
        defaultValue={search.target ?? ""}
        spellCheck={false}
      />
      <Select
        label={t("filter.result")}
        name="result"
        defaultValue={search.result ?? "any"}
        options={(["any", ...RESULTS] as const).map((value) => ({
          value,
          label: t(`filter.results.${value}`),
        }))}
      />
      <TextField
        label={t("filter.request")}
        name="request"
        defaultValue={search.request ?? ""}
        autoComplete="off"
        spellCheck={false}
      />
      <datalist id={addressesId}>
        {[...directory.users.values()].slice(0, MAX_SUGGESTIONS).map((email) => (
          <option key={email} value={email} />
        ))}
      </datalist>
      <datalist id={keysId}>
        {[...directory.keys].slice(0, MAX_SUGGESTIONS).map(([id, { label, user_id }]) => (
          <option key={id} value={id} label={`${label} · ${userName(directory, user_id)}`} />
        ))}
      </datalist>
    </div>
  );
}
