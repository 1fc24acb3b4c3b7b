import { useQuery } from "@tanstack/react-query";
import { CircleCheck, Clock, KeyRound, type LucideIcon } from "lucide-react";
import { ErrorNotice } from "@/components/ErrorNotice";
import { PageLink } from "@/components/PageLink";
import { Panel } from "@/components/Panel";
import { Skeleton } from "@/components/Skeleton";
import { EXPIRY_DAYS, keysQuery } from "@/features/overview/queries";
import { t } from "@/features/overview/text";
import { useNow } from "@/lib/clock";

/** Keys that expire soon or were never used, as filters of the list of keys. */
export function KeysToCheck() {
  const { data, error, refetch } = useQuery(keysQuery(useNow(60_000)));
  return (
    <Panel
      title={t("keys.title")}
      actions={
        <span className="text-sm">
          <PageLink page="keys">{t("keys.more")}</PageLink>
        </span>
      }
    >
      <ErrorNotice error={error} onRetry={() => void refetch()} what={t("keys.what")} />
      {data === undefined && error === null && <Skeleton label={t("keys.loading")} lines={2} />}
      {data !== undefined && (
        <ul className="flex flex-col gap-2.5">
          <Item icon={Clock} count={data.expiring} search={{ expires: `${EXPIRY_DAYS}d` }}>
            {data.expiring === 0
              ? t("keys.noneExpiring", { days: EXPIRY_DAYS })
              : t("keys.expiring", { count: data.expiring, days: EXPIRY_DAYS })}
          </Item>
          <Item icon={KeyRound} count={data.unused} search={{ used: "never" }}>
            {data.unused === 0 ? t("keys.noneUnused") : t("keys.unused", { count: data.unused })}
          </Item>
        </ul>
      )}
    </Panel>
  );
}

interface ItemProps {
  icon: LucideIcon;
  count: number;
  search: Record<string, string>;
  children: string;
}

function Item({ icon, count, search, children }: ItemProps) {
  const isGood = count === 0;
  const Icon = isGood ? CircleCheck : icon;
  return (
    <li className="flex items-start gap-2.5">
      <Icon
        aria-hidden
        className={`mt-0.75 size-4 shrink-0 ${isGood ? "text-accent-text" : "text-warning-text"}`}
      />
      {isGood ? (
        <span className="text-muted">{children}</span>
      ) : (
        <PageLink page="keys" search={search}>
          {children}
        </PageLink>
      )}
    </li>
  );
}
