import { useQuery } from "@tanstack/react-query";
import { CircleAlert, CircleCheck, Server } from "lucide-react";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Notice } from "@/components/Notice";
import { PageLink } from "@/components/PageLink";
import { Panel } from "@/components/Panel";
import { Skeleton } from "@/components/Skeleton";
import { type BackendState, backendsQuery, readyQuery } from "@/features/overview/queries";
import { t } from "@/features/overview/text";

/** Whether the server and the Ollama servers behind it work. */
export function Backends() {
  const { data, error, refetch } = useQuery(backendsQuery);
  return (
    <Panel
      title={t("backends.title")}
      actions={
        <span className="text-sm">
          <PageLink page="models">{t("backends.more")}</PageLink>
        </span>
      }
    >
      <div className="flex flex-col gap-3">
        <Readiness />
        <ErrorNotice error={error} onRetry={() => void refetch()} what={t("backends.what")} />
        {data === undefined && error === null && (
          <Skeleton label={t("backends.loading")} lines={2} />
        )}
        {data?.rows.length === 0 && (
          <EmptyState icon={Server} title={t("backends.none")}>
            {t("backends.noneDetail")}
          </EmptyState>
        )}
        {data !== undefined && data.rows.length > 0 && (
          <ul className="flex flex-col gap-2.5">
            {data.rows.map((backend) => (
              <BackendItem key={backend.url} backend={backend} />
            ))}
          </ul>
        )}
      </div>
    </Panel>
  );
}

function Readiness() {
  const { data } = useQuery(readyQuery);
  if (data === undefined || (data.isReady && data.degraded.length === 0)) return null;
  if (!data.isReady) {
    return (
      <Notice tone="danger" title={t("ready.down")}>
        {data.detail}
      </Notice>
    );
  }
  return (
    <Notice tone="warning" title={t("ready.degraded")}>
      <ul>
        {data.degraded.map((part) => (
          <li key={part}>{partText(part)}</li>
        ))}
      </ul>
    </Notice>
  );
}

function BackendItem({ backend }: { backend: BackendState }) {
  const { url, reachable, error, present, loaded } = backend;
  const Icon = reachable ? CircleCheck : CircleAlert;
  return (
    <li className="flex min-w-0 items-start gap-2.5">
      <Icon
        aria-hidden
        className={`mt-0.75 size-4 shrink-0 ${reachable ? "text-accent-text" : "text-danger-text"}`}
      />
      <div className="min-w-0">
        <p className="wrap-anywhere">
          <span className="font-medium">{url}</span>{" "}
          <span className={reachable ? "text-muted" : "text-danger-text"}>
            {t(reachable ? "backends.reachable" : "backends.unreachable")}
          </span>
        </p>
        <p className="text-muted text-sm wrap-anywhere">
          {reachable ? t("backends.models", { count: present, loaded }) : error}
        </p>
      </div>
    </li>
  );
}

function partText(part: string): string {
  if (part === "ollama" || part === "cache" || part === "limits") return t(`ready.${part}`);
  return part;
}
