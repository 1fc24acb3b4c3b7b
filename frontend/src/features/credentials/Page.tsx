import { useQuery } from "@tanstack/react-query";
import { KeyRound, Plus, RotateCw } from "lucide-react";
import { lazy, Suspense } from "react";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { ManifestButton } from "@/components/ManifestButton";
import { PageHeader } from "@/components/PageHeader";
import { Pagination } from "@/components/Pagination";
import { type Column, type Sort, Table } from "@/components/Table";
import { COLUMN } from "@/features/credentials/columns";
import type { OpenDialog } from "@/features/credentials/dialogs";
import { KeyFilters } from "@/features/credentials/KeyFilters";
import { nameAmong } from "@/features/credentials/names";
import { type Key, keysQuery } from "@/features/credentials/queries";
import {
  type ChangeSearch,
  isFiltered,
  type KeysSearch,
  NO_FILTER,
  toFilter,
  toSort,
} from "@/features/credentials/search";
import { t } from "@/features/credentials/text";

const KeyDialog = lazy(async () => {
  const { KeyDialog } = await import("@/features/credentials/KeyDialog");
  return { default: KeyDialog };
});

const PAGE_SIZE = 50;

interface Props {
  search: KeysSearch;
  onSearch: ChangeSearch;
}

/** All keys of all users, searched, filtered and sorted on the server. */
export function KeysPage({ search, onSearch }: Props) {
  const keys = useQuery(keysQuery(toFilter(search), PAGE_SIZE));
  const rows = keys.data?.rows ?? [];
  const dialog = toDialog(search);
  const columns: Column<Key>[] = [
    ...COLUMNS,
    {
      id: "open",
      header: t("column.actions"),
      isHeaderHidden: true,
      align: "end",
      cell: (key) => (
        <Button
          size="sm"
          target={nameAmong(key, rows)}
          onClick={() => onSearch({ key: key.id, dialog: undefined })}
        >
          {t("list.open")}
        </Button>
      ),
    },
  ];
  return (
    <>
      <PageHeader
        title={t("page.title")}
        description={t("page.description")}
        actions={
          <>
            <ManifestButton size="md" choice={{ kind: "keys" }} what={t("page.export")} />
            <Button icon={RotateCw} isBusy={keys.isFetching} onClick={() => void keys.refetch()}>
              {t("refresh")}
            </Button>
            <Button
              variant="primary"
              icon={Plus}
              onClick={() => onSearch({ dialog: "issue", key: undefined })}
            >
              {t("page.issue")}
            </Button>
          </>
        }
      />
      <div className="card min-w-0">
        <KeyFilters search={search} onSearch={onSearch} />
        <Table
          what={t("what")}
          query={keys}
          columns={columns}
          rowKey={(key) => key.id}
          currentKey={search.key}
          sort={fromSort(search.sort)}
          onSort={({ by, isDescending }) =>
            onSearch({ sort: toSort(by, isDescending), page: undefined })
          }
          stackBelow="lg"
          empty={<NoKeys search={search} onSearch={onSearch} />}
        />
        <Pagination
          what={t("what")}
          page={search.page ?? 1}
          pageSize={PAGE_SIZE}
          total={keys.data?.total ?? 0}
          onPage={(to) => onSearch({ page: to === 1 ? undefined : to })}
        />
      </div>
      {dialog !== undefined && (
        <Suspense>
          <KeyDialog dialog={dialog} onDialog={(to) => onSearch(fromDialog(to))} />
        </Suspense>
      )}
    </>
  );
}

function NoKeys({ search, onSearch }: Props) {
  if (!isFiltered(search)) {
    return (
      <EmptyState icon={KeyRound} title={t("empty.title")}>
        {t("empty.detail")}
      </EmptyState>
    );
  }
  return (
    <EmptyState icon={KeyRound} title={t("empty.noMatch")}>
      <p>{t("empty.noMatchDetail")}</p>
      <div className="mt-3">
        <Button size="sm" target={t("filter.ofEmpty")} onClick={() => onSearch(NO_FILTER)}>
          {t("filter.clear")}
        </Button>
      </div>
    </EmptyState>
  );
}

const COLUMNS: Column<Key>[] = [
  COLUMN.label,
  COLUMN.owner,
  COLUMN.models,
  COLUMN.scopes,
  COLUMN.state,
  COLUMN.created,
  COLUMN.lastUsed,
  COLUMN.expires,
];

function fromSort(sort: KeysSearch["sort"]): Sort | undefined {
  if (sort === undefined) return undefined;
  return { by: sort.replace(/^-/, ""), isDescending: sort.startsWith("-") };
}

function toDialog({ key, dialog, owner }: KeysSearch): OpenDialog | undefined {
  if (dialog === "issue") return { kind: "issue", ownerId: owner };
  return key === undefined ? undefined : { kind: dialog ?? "show", id: key };
}

function fromDialog(dialog: OpenDialog | undefined): Parameters<ChangeSearch>[0] {
  if (dialog === undefined) return { key: undefined, dialog: undefined };
  if (dialog.kind === "issue") return { key: undefined, dialog: "issue" };
  return { key: dialog.id, dialog: dialog.kind === "show" ? undefined : dialog.kind };
}
