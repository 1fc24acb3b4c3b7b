import { Link } from "@tanstack/react-router";
import { Lock } from "lucide-react";
import { useProfile } from "@/api/me";
import { EmptyState } from "@/components/EmptyState";
import { PageHeader } from "@/components/PageHeader";
import { usePages } from "@/features/shell/pages";
import { t } from "@/features/shell/text";

/** The page in the place of one that the user's roles do not allow. */
export function AccessDenied() {
  const home = usePages(useProfile())[0];
  return (
    <>
      <PageHeader title={t("denied.title")} description={t("denied.detail")} />
      {home !== undefined && (
        <div className="card">
          <EmptyState icon={Lock} title={t("denied.rest")}>
            <Link to={home.to} className="text-accent-text underline underline-offset-2">
              {t("denied.home", { page: t(`pages.${home.id}`) })}
            </Link>
          </EmptyState>
        </div>
      )}
    </>
  );
}
