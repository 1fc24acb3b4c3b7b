import { useQuery } from "@tanstack/react-query";
import { ChartColumn } from "lucide-react";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { Skeleton } from "@/components/Skeleton";
import { Chart } from "@/features/usage/Chart";
import { isOneDay } from "@/features/usage/period";
import { seriesQuery, type UsageFilter } from "@/features/usage/queries";
import { SeriesTable } from "@/features/usage/SeriesTable";
import { pointsOf } from "@/features/usage/series";
import { t } from "@/features/usage/text";

interface Props {
  filter: UsageFilter;
  /** The models that have a colour. */
  models: readonly string[];
  /** Shows one day. */
  onDay: (day: string) => void;
}

/** Tokens by hour or day, as a picture and as the numbers behind it. */
export function OverTime({ filter, models, onDay }: Props) {
  const { period } = filter;
  const series = useQuery(seriesQuery(filter));
  const isHourly = isOneDay(period);
  const points = series.data === undefined ? [] : pointsOf(series.data, period);
  const isEmpty = points.every((point) => point.totals.requests === 0);
  return (
    <Panel title={t(isHourly ? "time.byHour" : "time.byDay")}>
      <div className="min-h-59">
        <ErrorNotice
          error={series.error}
          onRetry={() => void series.refetch()}
          what={t("time.what")}
        />
        {series.data === undefined && series.error === null && (
          <Skeleton label={t("time.loading")} lines={7} />
        )}
        {series.data !== undefined && isEmpty && (
          <EmptyState icon={ChartColumn} title={t("empty.title")}>
            {t("empty.detail")}
          </EmptyState>
        )}
        {series.data !== undefined && !isEmpty && (
          <>
            <Chart points={points} models={models} />
            <details className="mt-3 text-sm">
              <summary className="w-fit rounded text-muted hover:text-text">
                {t("time.numbers")}
              </summary>
              <SeriesTable points={points} isHourly={isHourly} onDay={onDay} />
            </details>
          </>
        )}
      </div>
    </Panel>
  );
}
