import { useQuery } from "@tanstack/react-query";
import { ChartColumn } from "lucide-react";
import { useDirectory } from "@/api/names";
import { EmptyState } from "@/components/EmptyState";
import { PageLink } from "@/components/PageLink";
import { Panel } from "@/components/Panel";
import { Skeleton } from "@/components/Skeleton";
import { dayQuery } from "@/features/overview/queries";
import { t } from "@/features/overview/text";
import { useNow } from "@/lib/clock";
import { userName } from "@/lib/names";
import { exact } from "@/lib/numbers";

const MAX_USERS = 6;

/** Who has used the most tokens today. */
export function TopUsers() {
  // Its failure is shown above, where the same numbers are added up.
  const { data, error } = useQuery(dayQuery(useNow(60_000), 0));
  const top = data?.slice(0, MAX_USERS);
  const directory = useDirectory({ users: top?.map((row) => row.user_id) ?? [] });
  const most = data?.[0]?.tokens ?? 0;
  return (
    <Panel
      title={t("users.title")}
      actions={
        <span className="text-sm">
          <PageLink page="usage" search={{ range: "yesterday" }}>
            {t("users.yesterday")}
          </PageLink>
        </span>
      }
    >
      {data === undefined && error === null && <Skeleton label={t("users.loading")} lines={4} />}
      {data?.length === 0 && (
        <EmptyState icon={ChartColumn} title={t("users.none")}>
          {t("users.noneDetail")}
        </EmptyState>
      )}
      {top !== undefined && top.length > 0 && (
        <ol className="flex flex-col gap-2.5">
          {top.map(({ user_id = 0, tokens }) => (
            <li key={user_id} className="flex flex-col gap-1">
              <div className="flex items-baseline justify-between gap-4">
                <span className="min-w-0 wrap-anywhere">
                  <PageLink page="usage" search={{ range: "today", user: user_id, by: "key" }}>
                    {userName(directory, user_id)}
                  </PageLink>
                </span>
                <span className="tabular-nums">{exact(tokens)}</span>
              </div>
              <svg aria-hidden="true" className="block h-1.5 w-full">
                <rect width="100%" height="100%" rx="2" className="fill-subtle" />
                <rect
                  width={`${most === 0 ? 0 : (100 * tokens) / most}%`}
                  height="100%"
                  rx="2"
                  className="fill-series-1"
                />
              </svg>
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}
