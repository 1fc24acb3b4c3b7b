import { Download } from "lucide-react";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { useExport } from "@/features/audit/queries";
import type { AuditSearch } from "@/features/audit/search";
import { t } from "@/features/audit/text";
import { notify } from "@/lib/notify";

const FORMATS = ["csv", "ndjson"] as const;

/** Saves what the filter selects, on all pages. */
export function ExportButtons({ search }: { search: AuditSearch }) {
  const save = useExport(search);
  return (
    <>
      {FORMATS.map((format) => (
        <Button
          key={format}
          size="sm"
          icon={Download}
          isBusy={save.isPending && save.variables === format}
          onClick={() =>
            save.mutate(format, { onSuccess: (name) => notify(t("export.done", { name })) })
          }
        >
          {t(`export.${format}`)}
        </Button>
      ))}
      <ErrorNotice error={save.error} />
    </>
  );
}
