import { PageHeader } from "@/components/PageHeader";
import { Backends } from "@/features/overview/Backends";
import { Failures } from "@/features/overview/Failures";
import { FirstSteps } from "@/features/overview/FirstSteps";
import { KeysToCheck } from "@/features/overview/KeysToCheck";
import { Today } from "@/features/overview/Today";
import { TopUsers } from "@/features/overview/TopUsers";
import { t } from "@/features/overview/text";

/** What an admin wants to know first. */
export function OverviewPage() {
  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <FirstSteps />
      <Today />
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
        <Failures />
        <div className="flex min-w-0 flex-col gap-4">
          <Backends />
          <KeysToCheck />
          <TopUsers />
        </div>
      </div>
    </>
  );
}
