import { useRouter } from "@tanstack/react-router";
import { ErrorNotice } from "@/components/ErrorNotice";
import { PageHeader } from "@/components/PageHeader";
import { BackendStatus } from "@/features/shell/BackendStatus";
import { t } from "@/features/shell/text";

/** The page in the place of one that failed to load, or before the session could start. */
export function PageError({ error }: { error: unknown }) {
  const router = useRouter();
  return (
    <div className="mx-auto flex w-full max-w-2xl flex-col gap-4 px-4 py-8">
      <PageHeader title={t("error.title")} description={t("error.detail")} />
      <ErrorNotice error={error} onRetry={() => void router.invalidate()} />
      <div className="card px-2 py-1">
        <BackendStatus />
      </div>
    </div>
  );
}
