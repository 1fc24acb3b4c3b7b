import { useQuery } from "@tanstack/react-query";
import { HeldBack } from "@/components/HeldBack";
import { PageHeader } from "@/components/PageHeader";
import { Backends } from "@/features/overview/Backends";
import { Failures } from "@/features/overview/Failures";
import { FirstSteps } from "@/features/overview/FirstSteps";
import { KeysToCheck } from "@/features/overview/KeysToCheck";
import { backendsQuery, failuresQuery, readyQuery, stepsQuery } from "@/features/overview/queries";
import { Today } from "@/features/overview/Today";
import { TopUsers } from "@/features/overview/TopUsers";
import { t } from "@/features/overview/text";

/** What an admin wants to know first. */
export function OverviewPage() {
  const steps = useQuery(stepsQuery);
  const backends = useQuery(backendsQuery);
  const failures = useQuery(failuresQuery);
  const ready = useQuery(readyQuery);
  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <FirstSteps />
      <HeldBack while={steps.isPending}>
        <Today />
        <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
          <Failures />
          <div className="flex min-w-0 flex-col gap-4">
            <HeldBack while={failures.isPending}>
              <KeysToCheck />
              <Backends />
              <HeldBack while={backends.isPending || ready.isPending}>
                <TopUsers />
              </HeldBack>
            </HeldBack>
          </div>
        </div>
      </HeldBack>
    </>
  );
}
