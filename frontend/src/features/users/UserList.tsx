import type { UseQueryResult } from "@tanstack/react-query";
import { RotateCw, UsersRound } from "lucide-react";
import type { Page } from "@/api/client";
import { Badge } from "@/components/Badge";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { ManagedBadge } from "@/components/Managed";
import { ManifestButton } from "@/components/ManifestButton";
import { Pagination } from "@/components/Pagination";
import { Panel } from "@/components/Panel";
import { SearchField } from "@/components/SearchField";
import { type Column, Table } from "@/components/Table";
import { PAGE_SIZE, type User } from "@/features/users/queries";
import { StateBadge } from "@/features/users/StateBadge";
import type { ChangeSearch, UsersSearch } from "@/features/users/search";
import { t } from "@/features/users/text";

interface Props {
  users: UseQueryResult<Page<User>>;
  search: UsersSearch;
  onSearch: ChangeSearch;
}

/** All users, searched on the server. Select shows one beside the list. */
export function UserList({ users, search, onSearch }: Props) {
  const { q = "", page = 1, selected } = search;
  const columns: Column<User>[] = [
    ...COLUMNS,
    {
      id: "select",
      header: t("list.column.actions"),
      isHeaderHidden: true,
      align: "end",
      cell: (user) => (
        <Button
          size="sm"
          target={user.email}
          aria-pressed={user.id === selected}
          onClick={() => onSearch({ selected: user.id })}
        >
          {t("list.select")}
        </Button>
      ),
    },
  ];
  return (
    <Panel
      title={t("list.title")}
      level={3}
      isFlush
      actions={
        <>
          <ManifestButton choice={{ kind: "users" }} what={t("list.export")} />
          <Button
            size="sm"
            icon={RotateCw}
            isBusy={users.isFetching}
            onClick={() => void users.refetch()}
          >
            {t("list.refresh")}
          </Button>
        </>
      }
    >
      <div className="px-4 pb-2">
        <SearchField
          label={t("list.search")}
          value={q}
          onSearch={(text) => onSearch({ q: text, page: undefined }, { replace: true })}
        />
      </div>
      <Table
        what={t("list.what")}
        query={users}
        columns={columns}
        rowKey={(user) => user.id}
        currentKey={selected}
        stackBelow="xs"
        empty={
          q === "" ? (
            <EmptyState icon={UsersRound} title={t("empty.title")}>
              {t("empty.detail")}
            </EmptyState>
          ) : (
            <EmptyState icon={UsersRound} title={t("empty.noMatch", { q })}>
              {t("empty.noMatchDetail")}
            </EmptyState>
          )
        }
      />
      <Pagination
        what={t("list.what")}
        page={page}
        pageSize={PAGE_SIZE}
        total={users.data?.total ?? 0}
        onPage={(to) => onSearch({ page: to === 1 ? undefined : to })}
      />
    </Panel>
  );
}

const COLUMNS: Column<User>[] = [
  {
    id: "email",
    header: t("list.column.user"),
    cell: (user) => (
      <div className="min-w-0">
        <p>{user.email}</p>
        {user.display_name !== null && <p className="text-muted text-sm">{user.display_name}</p>}
      </div>
    ),
  },
  {
    id: "roles",
    header: t("list.column.roles"),
    cell: (user) => (
      <div className="flex flex-wrap gap-1">
        {user.roles.map((role) => (
          <Badge key={role} tone={role === "admin" ? "info" : "neutral"}>
            {role}
          </Badge>
        ))}
        {user.roles.length === 0 && <Badge tone="warning">{t("list.noRole")}</Badge>}
      </div>
    ),
  },
  {
    id: "state",
    header: t("list.column.state"),
    cell: (user) => (
      <div className="flex flex-wrap gap-1">
        <StateBadge user={user} />
        {user.managed_by !== null && <ManagedBadge owner={user.managed_by} />}
      </div>
    ),
  },
];
