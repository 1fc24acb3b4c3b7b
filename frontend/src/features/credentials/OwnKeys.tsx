import { useQuery } from "@tanstack/react-query";
import { KeyRound } from "lucide-react";
import { useState } from "react";
import { EmptyState } from "@/components/EmptyState";
import { Pagination } from "@/components/Pagination";
import { Panel } from "@/components/Panel";
import { type Column, Table } from "@/components/Table";
import { COLUMN } from "@/features/credentials/columns";
import { type Key, keysQuery } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";

const PAGE_SIZE = 10;

/** The keys of the signed-in user, to look at: only admins issue and revoke keys. */
export function OwnKeys({ userId }: { userId: number }) {
  const [page, setPage] = useState(1);
  const keys = useQuery(keysQuery({ user_id: userId, page }, PAGE_SIZE));
  return (
    <Panel title={t("own.title")} description={t("own.description")} isFlush>
      <Table
        what={t("own.what")}
        query={keys}
        columns={COLUMNS}
        rowKey={(key) => key.id}
        stackBelow="md"
        empty={
          <EmptyState icon={KeyRound} title={t("own.none")}>
            {t("own.noneDetail")}
          </EmptyState>
        }
      />
      <Pagination
        what={t("own.what")}
        page={page}
        pageSize={PAGE_SIZE}
        total={keys.data?.total ?? 0}
        onPage={setPage}
      />
    </Panel>
  );
}

const COLUMNS: Column<Key>[] = [
  COLUMN.label,
  COLUMN.models,
  COLUMN.scopes,
  COLUMN.state,
  COLUMN.lastUsed,
  COLUMN.expires,
];
