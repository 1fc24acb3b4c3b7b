import { PageHeader } from "@/components/PageHeader";
import { type ChangeSearch, type UsageSearch, VIEWS } from "@/features/usage/search";
import { t } from "@/features/usage/text";
import { UsageReport } from "@/features/usage/UsageReport";

interface Props {
  search: UsageSearch;
  onSearch: ChangeSearch;
}

/** The usage of everybody. */
export function UsagePage({ search, onSearch }: Props) {
  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <UsageReport search={search} onSearch={onSearch} views={VIEWS} />
    </>
  );
}
