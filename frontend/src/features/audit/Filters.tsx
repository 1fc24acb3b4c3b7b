import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import type { Directory } from "@/api/names";
import { Button } from "@/components/Button";
import { Checkbox } from "@/components/Checkbox";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Segments } from "@/components/Segments";
import { TextField } from "@/components/TextField";
import { EVENT_TYPES, eventName } from "@/features/audit/events";
import { type Errors, readForm } from "@/features/audit/form";
import { MoreFilters } from "@/features/audit/MoreFilters";
import {
  type AuditSearch,
  type ChangeSearch,
  countMore,
  DEFAULT_LIMIT,
  GROUPS,
  isFiltered,
  MAX_LIMIT,
  NO_FILTER,
} from "@/features/audit/search";
import { t } from "@/features/audit/text";

interface Props {
  search: AuditSearch;
  onSearch: ChangeSearch;
  directory: Directory;
  isLoading: boolean;
}

/** What the list shows. The choices apply at once, the fields with Load. */
export function Filters({ search, onSearch, directory, isLoading }: Props) {
  const queryClient = useQueryClient();
  const [errors, setErrors] = useState<Errors>({});
  const [isOpen, setIsOpen] = useState(countMore(search) > 0);
  const typesId = useId();
  const { id: _, before: __, ...shown } = search;
  const reading = useMutation({
    mutationFn: (form: FormData) => readForm(form, directory),
    onSuccess: (form) => {
      setErrors(form.errors);
      if (Object.keys(form.errors).length > 0) return;
      const { limit } = form.search;
      onSearch({
        ...form.search,
        limit: limit === DEFAULT_LIMIT ? undefined : limit,
        before: undefined,
      });
      void queryClient.invalidateQueries({ queryKey: ["audit"] });
    },
  });
  const load = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    reading.mutate(new FormData(event.currentTarget));
  };
  const more = countMore(search);
  return (
    <div className="flex flex-col gap-3 px-4 pb-3">
      <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
        <Segments
          label={t("filter.group")}
          value={search.group ?? "all"}
          options={(["all", ...GROUPS] as const).map((value) => ({
            value,
            label: t(`filter.groups.${value}`),
          }))}
          onChange={(group) =>
            onSearch({ group: group === "all" ? undefined : group, before: undefined })
          }
        />
        <Checkbox
          label={t("filter.people")}
          checked={search.people === true}
          onChange={(event) =>
            onSearch({ people: event.target.checked || undefined, before: undefined })
          }
        />
      </div>
      <form
        // Fields that come from elsewhere, such as the Back button, replace what was typed.
        key={JSON.stringify(shown)}
        noValidate
        onSubmit={load}
        className="flex flex-col gap-3"
      >
        <div className="flex flex-wrap items-start gap-3">
          <div className="min-w-0 flex-[1_1_16rem] sm:max-w-sm">
            <TextField
              label={t("filter.event")}
              hint={t("filter.eventHint")}
              name="event"
              list={typesId}
              defaultValue={search.event ?? ""}
              error={errors.event}
              autoComplete="off"
              spellCheck={false}
            />
            <datalist id={typesId}>
              {EVENT_TYPES.map((type) => (
                <option key={type} value={type} label={eventName(type)} />
              ))}
            </datalist>
          </div>
          <div className="w-24">
            <TextField
              label={t("filter.limit")}
              name="limit"
              type="number"
              min={1}
              max={MAX_LIMIT}
              defaultValue={search.limit ?? DEFAULT_LIMIT}
              error={errors.limit}
            />
          </div>
          <div className="flex flex-wrap gap-2 pt-6">
            <Button type="submit" variant="primary" isBusy={isLoading || reading.isPending}>
              {t("filter.load")}
            </Button>
            {isFiltered(search) && (
              <Button variant="quiet" onClick={() => onSearch({ ...NO_FILTER })}>
                {t("filter.clear")}
              </Button>
            )}
          </div>
        </div>
        <ErrorNotice error={reading.error} />
        <details open={isOpen} onToggle={(event) => setIsOpen(event.currentTarget.open)}>
          <summary className="w-fit rounded text-muted text-sm hover:text-text">
            {more === 0 ? t("filter.more") : t("filter.moreSet", { count: more })}
          </summary>
          <MoreFilters search={search} directory={directory} errors={errors} />
        </details>
      </form>
    </div>
  );
}
