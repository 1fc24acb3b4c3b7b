import { type Column, Table } from "@/components/Table";
import { dayText, stepText } from "@/features/usage/period";
import type { Point } from "@/features/usage/series";
import { t } from "@/features/usage/text";
import { VALUES } from "@/features/usage/totals";
import { exact } from "@/lib/numbers";

interface Props {
  points: readonly Point[];
  isHourly: boolean;
  onDay: (day: string) => void;
}

/** The numbers behind the picture. */
export function SeriesTable({ points, isHourly, onDay }: Props) {
  const step: Column<Point> = {
    id: "step",
    header: t(isHourly ? "time.hour" : "time.day"),
    cell: (point) =>
      isHourly ? (
        stepText(point.step)
      ) : (
        <button
          type="button"
          onClick={() => onDay(point.step)}
          className="min-h-6 rounded text-start text-accent-text underline-offset-2 hover:underline"
        >
          {dayText(point.step)}
        </button>
      ),
  };
  return (
    <Table
      what={t("time.what")}
      query={{ data: { rows: points }, error: null, isFetching: false, refetch: () => undefined }}
      columns={[step, ...NUMBERS]}
      rowKey={(point) => point.step}
      empty={null}
      stackBelow="xs"
    />
  );
}

const NUMBERS = (["tokens", "prompt", "completion", "requests"] as const).map(
  (id): Column<Point> => ({
    id,
    header: t(`column.${id}`),
    align: "end",
    cell: ({ totals }) => exact(VALUES[id](totals)),
  }),
);
