import { useQuery } from "@tanstack/react-query";
import { Notice } from "@/components/Notice";
import { readinessQuery } from "@/features/shell/queries";
import { t } from "@/features/shell/text";

/** Says above every page that the server cannot work. What still works needs no banner. */
export function StatusBanner() {
  const { data } = useQuery(readinessQuery);
  if (data?.state === "unreachable") {
    return (
      <Notice tone="danger" title={t("status.banner.unreachable")} isAnnounced>
        {t("status.server.detail")}
      </Notice>
    );
  }
  if (data?.state === "down") {
    return (
      <Notice tone="danger" title={t("status.banner.down")} isAnnounced>
        {data.detail}
      </Notice>
    );
  }
  return null;
}
