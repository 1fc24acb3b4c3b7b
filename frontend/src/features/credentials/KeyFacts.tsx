import type { ReactNode } from "react";
import { TimeText } from "@/components/TimeText";
import { KeyStatus } from "@/features/credentials/KeyStatus";
import { ownerOf } from "@/features/credentials/names";
import type { Key } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";

/** What cannot be edited about a key. */
export function KeyFacts({ credential }: { credential: Key }) {
  const { id, prefix, created_at, last_used_at, expires_at, revoked_at } = credential;
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-3 rounded-lg bg-subtle px-4 py-3 sm:grid-cols-4">
      <Fact name={t("show.owner")}>{ownerOf(credential)}</Fact>
      <Fact name={t("column.state")}>
        <KeyStatus credential={credential} isBrief />
      </Fact>
      <Fact name={t("show.id")}>{id}</Fact>
      <Fact name={t("show.prefix")}>
        <code className="font-mono text-sm">{prefix ?? t("list.noSecret")}</code>
      </Fact>
      <Fact name={t("show.created")}>
        <TimeText time={created_at} />
      </Fact>
      <Fact name={t("show.lastUsed")}>
        <TimeText time={last_used_at} />
      </Fact>
      <Fact name={t("show.expires")}>
        <TimeText time={expires_at} />
      </Fact>
      {revoked_at !== null && (
        <Fact name={t("show.revoked")}>
          <TimeText time={revoked_at} />
        </Fact>
      )}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <dt className="text-muted text-xs">{name}</dt>
      <dd className="wrap-anywhere">{children}</dd>
    </div>
  );
}
