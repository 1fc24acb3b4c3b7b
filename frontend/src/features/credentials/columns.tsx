import { ModelAccessText } from "@/components/ModelAccessText";
import type { Column } from "@/components/Table";
import { TimeText } from "@/components/TimeText";
import { KeyStatus } from "@/features/credentials/KeyStatus";
import type { Key } from "@/features/credentials/queries";
import { SCOPES } from "@/features/credentials/search";
import { t } from "@/features/credentials/text";

/** The columns of every list of keys. The ids are those that the server sorts by. */
export const COLUMN = {
  label: {
    id: "label",
    header: t("column.label"),
    isSortable: true,
    cell: (key) => <KeyLabel credential={key} />,
  },
  owner: {
    id: "owner",
    header: t("column.owner"),
    isSortable: true,
    cell: ({ user_email: email }) =>
      email === null ? (
        <span className="text-muted italic">{t("list.deleted")}</span>
      ) : (
        <Address email={email} />
      ),
  },
  models: {
    id: "models",
    header: t("column.models"),
    isSortable: true,
    cell: (key) => (
      <div className="@min-[67rem]:min-w-28 text-sm">
        <ModelAccessText models={key.models} isBrief />
      </div>
    ),
  },
  scopes: {
    id: "scopes",
    header: t("column.scopes"),
    isSortable: true,
    cell: (key) => <ScopesText scopes={key.scopes} />,
  },
  state: {
    id: "state",
    header: t("column.state"),
    isSortable: true,
    cell: (key) => <KeyStatus credential={key} />,
  },
  created: {
    id: "created_at",
    header: t("column.created"),
    isSortable: true,
    cell: (key) => <When time={key.created_at} />,
  },
  lastUsed: {
    id: "last_used_at",
    header: t("column.lastUsed"),
    isSortable: true,
    cell: (key) => <When time={key.last_used_at} />,
  },
  expires: {
    id: "expires_at",
    header: t("column.expires"),
    isSortable: true,
    cell: (key) => <When time={key.expires_at} />,
  },
} satisfies Record<string, Column<Key>>;

/** Breaks before the host first. */
function Address({ email }: { email: string }) {
  const at = email.lastIndexOf("@");
  return (
    <span className="inline-block min-w-28 @min-[67rem]:min-w-36">
      {email.slice(0, at)}
      <wbr />
      {email.slice(at)}
    </span>
  );
}

function When({ time }: { time: string | null }) {
  return (
    <span className="text-sm">
      <TimeText time={time} isShort />
    </span>
  );
}

function KeyLabel({ credential }: { credential: Key }) {
  const { label, prefix } = credential;
  return (
    <div className="min-w-28">
      {label.trim() === "" ? (
        <p className="text-muted italic">{t("list.noLabel")}</p>
      ) : (
        <p className="font-medium">{label}</p>
      )}
      {prefix !== null && <p className="font-mono text-muted text-xs">{prefix}</p>}
    </div>
  );
}

export function ScopesText({ scopes }: { scopes: Key["scopes"] }) {
  if (scopes.length === 0) return <span className="text-danger-text">{t("list.noScope")}</span>;
  if (SCOPES.every((scope) => scopes.includes(scope))) {
    return (
      <span title={scopes.join(", ")} className="text-sm">
        {t("list.allScopes")}
      </span>
    );
  }
  return <span className="inline-block @min-[67rem]:min-w-36 text-sm">{scopes.join(", ")}</span>;
}
