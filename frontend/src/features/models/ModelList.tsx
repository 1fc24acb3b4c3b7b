import type { UseQueryResult } from "@tanstack/react-query";
import { Package, RotateCw } from "lucide-react";
import { Badge } from "@/components/Badge";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { ManagedBadge } from "@/components/Managed";
import { ManifestButton } from "@/components/ManifestButton";
import { Notice } from "@/components/Notice";
import { Panel } from "@/components/Panel";
import { SearchField } from "@/components/SearchField";
import { Select } from "@/components/Select";
import { type Column, Table } from "@/components/Table";
import { BackendCell } from "@/features/models/BackendCell";
import { hostOf } from "@/features/models/format";
import { differenceOf, matching } from "@/features/models/model-state";
import type { Model, Models } from "@/features/models/queries";
import { type ChangeSearch, type ModelsSearch, SHOWN } from "@/features/models/search";
import { t } from "@/features/models/text";
import { oneOf } from "@/lib/search";

interface Props {
  models: UseQueryResult<Models>;
  search: ModelsSearch;
  onSearch: ChangeSearch;
}

const SHOW_OPTIONS = [
  { value: "", label: t("list.show.all") },
  ...SHOWN.map((value) => ({ value, label: t(`list.show.${value}`) })),
];

/** Every model against every backend. */
export function ModelList({ models, search, onSearch }: Props) {
  const { data } = models;
  const isFiltered = search.q !== undefined || search.show !== undefined;
  return (
    <Panel
      title={t("list.title")}
      description={t("list.description")}
      isFlush
      actions={
        <>
          <ManifestButton choice={{ kind: "models" }} what={t("list.export")} />
          <Button
            size="sm"
            icon={RotateCw}
            isBusy={models.isFetching}
            onClick={() => void models.refetch()}
          >
            {t("list.refresh")}
          </Button>
        </>
      }
    >
      <div className="flex flex-wrap items-end gap-3 px-4 pb-3">
        <div className="min-w-0 grow basis-48 sm:max-w-72">
          <SearchField
            label={t("list.search")}
            value={search.q ?? ""}
            onSearch={(q) => onSearch({ q: q === "" ? undefined : q }, { replace: true })}
          />
        </div>
        <div className="min-w-0 grow basis-40 sm:max-w-56">
          <Select
            label={t("list.show.label")}
            options={SHOW_OPTIONS}
            value={search.show ?? ""}
            onChange={(event) => onSearch({ show: oneOf(SHOWN, event.target.value) })}
          />
        </div>
      </div>
      <Unreachable backends={data?.backends ?? []} />
      <Table
        what={t("list.what")}
        query={{ ...models, data: data && { rows: matching(data.models, search) } }}
        columns={columnsOf(data?.backends ?? [], onSearch)}
        rowKey={({ model }) => model}
        currentKey={search.selected}
        stackBelow="md"
        empty={
          isFiltered && data?.models.length !== 0 ? (
            <EmptyState icon={Package} title={t("list.empty.noMatch")}>
              {t("list.empty.noMatchDetail")}
            </EmptyState>
          ) : (
            <EmptyState icon={Package} title={t("list.empty.title")}>
              {t("list.empty.detail")}
            </EmptyState>
          )
        }
      />
    </Panel>
  );
}

function Unreachable({ backends }: Pick<Models, "backends">) {
  const away = backends.filter(({ reachable }) => !reachable);
  if (away.length === 0) return null;
  return (
    <div className="flex flex-col gap-2 px-4 pb-3">
      {away.map(({ url, error }) => (
        <Notice key={url} tone="warning" title={t("backend.away", { backend: hostOf(url) })}>
          {t("backend.awayDetail", { cause: (error ?? t("backend.noCause")).replace(/\.$/, "") })}
        </Notice>
      ))}
    </div>
  );
}

function columnsOf(backends: Models["backends"], onSearch: ChangeSearch): Column<Model>[] {
  return [
    { id: "model", header: t("list.column.model"), cell: (model) => <Name model={model} /> },
    ...backends.map(({ url }) => ({
      id: url,
      header: hostOf(url),
      cell: (model: Model) => (
        <BackendCell state={model.backends.find((backend) => backend.url === url)} />
      ),
    })),
    {
      id: "details",
      header: t("list.column.details"),
      isHeaderHidden: true,
      align: "end",
      cell: ({ name, model }) => (
        <Button size="sm" target={name} onClick={() => onSearch({ selected: model })}>
          {t("list.details")}
        </Button>
      ),
    },
  ];
}

function Name({ model }: { model: Model }) {
  const difference = differenceOf(model);
  const [owner] = model.managed_by;
  return (
    <div className="flex flex-wrap items-center gap-x-2 gap-y-1">
      <span className="font-medium">{model.name}</span>
      {owner !== undefined && <ManagedBadge owner={owner} />}
      {difference !== undefined && (
        <Badge tone="warning">{t(`list.difference.${difference}`)}</Badge>
      )}
      {model.pull !== null && (
        <Badge tone="info">
          {model.pull.state === "queued"
            ? t("list.queued")
            : t("list.pulling", { percent: model.pull.percent })}
        </Badge>
      )}
    </div>
  );
}
