import type { ReactNode } from "react";
import type { Profile as Data } from "@/api/me";
import { Badge } from "@/components/Badge";
import { ModelAccessText } from "@/components/ModelAccessText";
import { Notice } from "@/components/Notice";
import { Panel } from "@/components/Panel";
import { t } from "@/features/account/text";

/** Who the user is, and which models the user may use. */
export function Profile({ profile }: { profile: Data }) {
  const { id, email, display_name, roles, models } = profile;
  return (
    <Panel title={t("profile.title")}>
      {roles.length === 0 && (
        <div className="pb-3">
          <Notice tone="warning" title={t("profile.none")} />
        </div>
      )}
      <dl className="grid gap-x-4 gap-y-2 sm:grid-cols-[8rem_minmax(0,1fr)]">
        <Row name={t("profile.email")}>{email}</Row>
        <Row name={t("profile.name")}>
          {display_name ?? <span className="text-muted">{t("profile.noName")}</span>}
        </Row>
        <Row name={t("profile.id")}>{id}</Row>
        {roles.length > 0 && (
          <Row name={t("profile.roles")}>
            {roles.map((role) => (
              <p key={role} className="flex flex-wrap items-center gap-x-2">
                <Badge tone={role === "admin" ? "info" : "neutral"}>{role}</Badge>
                <span className="text-muted text-sm">{t(`profile.about.${role}`)}</span>
              </p>
            ))}
          </Row>
        )}
        <Row name={t("profile.models")}>
          <ModelAccessText models={models} />
        </Row>
      </dl>
    </Panel>
  );
}

function Row({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="grid gap-x-4 sm:col-span-2 sm:grid-cols-subgrid">
      <dt className="text-muted">{name}</dt>
      <dd className="min-w-0 wrap-anywhere">{children}</dd>
    </div>
  );
}
