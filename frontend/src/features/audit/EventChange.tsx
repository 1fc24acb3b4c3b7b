import { type Column, Table } from "@/components/Table";
import { changesOf, type FieldChange } from "@/features/audit/facts";
import type { AuditEvent } from "@/features/audit/queries";
import { t } from "@/features/audit/text";

/** The changed fields, before and after. */
export function EventChange({ event }: { event: AuditEvent }) {
  const rows = changesOf(event);
  if (rows.length === 0) return null;
  return (
    <section aria-label={t("change.title")} className="rounded-lg border border-line">
      <Table
        what={t("change.what")}
        query={{ data: { rows }, error: null, isFetching: false, refetch: () => undefined }}
        columns={COLUMNS}
        rowKey={(row) => row.name}
        empty={null}
        stackBelow="xs"
      />
    </section>
  );
}

const COLUMNS: Column<FieldChange>[] = [
  {
    id: "field",
    header: t("change.field"),
    cell: ({ name }) => <code className="font-mono text-sm">{name}</code>,
  },
  { id: "before", header: t("change.before"), cell: ({ before }) => <Value text={before} /> },
  { id: "after", header: t("change.after"), cell: ({ after }) => <Value text={after} /> },
];

function Value({ text }: { text: string | undefined }) {
  if (text === undefined) return <span className="text-muted">{t("change.none")}</span>;
  return <span className="wrap-anywhere">{text}</span>;
}
