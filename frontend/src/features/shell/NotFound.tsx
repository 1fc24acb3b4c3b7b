import { Link } from "@tanstack/react-router";
import { PageHeader } from "@/components/PageHeader";
import { t } from "@/features/shell/text";

/** The page of an address that no route has. */
export function NotFound() {
  return (
    <>
      <PageHeader title={t("notFound.title")} description={t("notFound.detail")} />
      <p>
        <Link to="/" className="text-accent-text underline underline-offset-2">
          {t("notFound.home")}
        </Link>
      </p>
    </>
  );
}
