import { useQuery } from "@tanstack/react-query";
import { Info, KeyRound } from "lucide-react";
import { lazy, type ReactNode, Suspense, useState } from "react";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/EmptyState";
import { HeldBack } from "@/components/HeldBack";
import { IconButton } from "@/components/IconButton";
import { Pagination } from "@/components/Pagination";
import { Panel } from "@/components/Panel";
import { type Column, Table } from "@/components/Table";
import { COLUMN } from "@/features/credentials/columns";
import type { OpenDialog } from "@/features/credentials/dialogs";
import { KeyStatus } from "@/features/credentials/KeyStatus";
import { hasEnded, nameAmong } from "@/features/credentials/names";
import { QuickIssue } from "@/features/credentials/QuickIssue";
import { type Key, keysQuery } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";

const KeyDialog = lazy(async () => {
  const { KeyDialog } = await import("@/features/credentials/KeyDialog");
  return { default: KeyDialog };
});

const PAGE_SIZE = 10;

interface Props {
  userId: number;
  /** What stands below the keys. */
  children: ReactNode;
}

/** The keys of one user, among the panels of that user. */
export function Credentials({ userId, children }: Props) {
  const [page, setPage] = useState(1);
  const [dialog, setDialog] = useState<OpenDialog>();
  const keys = useQuery(keysQuery({ user_id: userId, page }, PAGE_SIZE));
  const rows = keys.data?.rows ?? [];
  const columns: Column<Key>[] = [
    ...COLUMNS,
    {
      id: "actions",
      header: t("column.actions"),
      isHeaderHidden: true,
      align: "end",
      cell: (key) => <Actions credential={key} name={nameAmong(key, rows)} onOpen={setDialog} />,
    },
  ];
  return (
    <>
      <Panel title={t("panel.title")} level={3} description={t("panel.description")} isFlush>
        <div className="px-4 pb-3">
          <QuickIssue
            userId={userId}
            onOptions={() => setDialog({ kind: "issue", ownerId: userId })}
          />
        </div>
        <Table
          what={t("panel.what")}
          query={keys}
          columns={columns}
          rowKey={(key) => key.id}
          empty={
            <EmptyState icon={KeyRound} title={t("panel.none")}>
              {t("panel.noneDetail")}
            </EmptyState>
          }
        />
        <Pagination
          what={t("panel.what")}
          page={page}
          pageSize={PAGE_SIZE}
          total={keys.data?.total ?? 0}
          onPage={setPage}
        />
        {dialog !== undefined && (
          <Suspense>
            <KeyDialog dialog={dialog} onDialog={setDialog} isDirect />
          </Suspense>
        )}
      </Panel>
      <HeldBack while={keys.isPending}>{children}</HeldBack>
    </>
  );
}

interface ActionsProps {
  credential: Key;
  name: string;
  onOpen: (dialog: OpenDialog) => void;
}

function Actions({ credential, name, onOpen }: ActionsProps) {
  const { id } = credential;
  const open = (kind: "show" | "rotate" | "revoke" | "end-old") => () => onOpen({ kind, id });
  return (
    <div className="flex flex-wrap items-center justify-end gap-1">
      {credential.state === "retiring" && (
        <Button size="sm" target={name} onClick={open("end-old")}>
          {t("panel.endOld")}
        </Button>
      )}
      {!hasEnded(credential) && (
        <>
          {credential.managed_by === null && (
            <Button size="sm" target={name} onClick={open("rotate")}>
              {t("panel.rotate")}
            </Button>
          )}
          <Button size="sm" target={name} onClick={open("revoke")}>
            {t("panel.revoke")}
          </Button>
        </>
      )}
      <IconButton icon={Info} label={t("panel.details", { name })} onClick={open("show")} />
    </div>
  );
}

const COLUMNS: Column<Key>[] = [
  { ...COLUMN.label, header: t("panel.label") },
  {
    id: "id",
    header: t("column.id"),
    cell: (key) => <span className="whitespace-nowrap">{key.id}</span>,
  },
  {
    id: "status",
    header: t("column.status"),
    cell: (key) => <KeyStatus credential={key} />,
  },
];
