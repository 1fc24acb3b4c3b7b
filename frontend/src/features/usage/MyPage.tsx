import { useQuery } from "@tanstack/react-query";
import { limitsQuery, useProfile } from "@/api/me";
import { HeldBack } from "@/components/HeldBack";
import { LimitsLeft } from "@/components/LimitsLeft";
import { PageHeader } from "@/components/PageHeader";
import type { ChangeSearch, UsageSearch, View } from "@/features/usage/search";
import { t } from "@/features/usage/text";
import { UsageReport } from "@/features/usage/UsageReport";

interface Props {
  search: UsageSearch;
  onSearch: ChangeSearch;
}

const VIEWS: readonly View[] = ["key", "model"];

/** The usage of the signed-in user, and what is left of each limit. */
export function MyUsagePage({ search, onSearch }: Props) {
  const { id } = useProfile();
  const limits = useQuery(limitsQuery);
  return (
    <>
      <PageHeader title={t("mine.title")} description={t("mine.description")} />
      <LimitsLeft limits={limits} />
      <HeldBack while={limits.isPending}>
        <UsageReport search={search} onSearch={onSearch} views={VIEWS} owner={id} />
      </HeldBack>
    </>
  );
}
