import { Lock } from "lucide-react";
import type { ReactNode } from "react";
import type { components } from "@/api/schema";
import { Badge } from "@/components/Badge";
import { CopyButton } from "@/components/CopyButton";
import { Notice } from "@/components/Notice";
import { t } from "@/components/text";

type Owner = components["schemas"]["Owner"];

type Kind = "apiuser" | "apikey" | "ollamamodel";

/** Says that a Kubernetes object owns the resource. */
export function ManagedBadge({ owner }: { owner: Owner }) {
  return (
    <span title={`${owner.namespace}/${owner.name}`}>
      <Badge tone="info" icon={Lock}>
        {t("managed.badge")}
      </Badge>
    </span>
  );
}

interface NoticeProps {
  owner: Owner;
  kind: Kind;
  /** What can be changed here all the same. */
  children?: ReactNode;
}

/** Why a form is disabled, and the command that changes the object. */
export function ManagedNotice({ owner, kind, children }: NoticeProps) {
  const command = `kubectl -n ${owner.namespace} edit ${kind} ${owner.name}`;
  return (
    <Notice title={t("managed.title")}>
      <p>{t("managed.detail", { name: `${owner.namespace}/${owner.name}` })}</p>
      {children}
      <CommandLine command={command} />
    </Notice>
  );
}

function CommandLine({ command }: { command: string }) {
  return (
    <p className="mt-1.5 flex flex-wrap items-center gap-2">
      <code className="min-w-0 rounded bg-surface px-2 py-1 font-mono text-xs wrap-anywhere">
        {command}
      </code>
      <CopyButton text={command} target={t("managed.command")} />
    </p>
  );
}
