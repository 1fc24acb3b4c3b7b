import { Segments } from "@/components/Segments";
import { lastDay, type Period } from "@/features/usage/period";
import { type ChangeSearch, RANGES, type UsageSearch } from "@/features/usage/search";
import { t } from "@/features/usage/text";

interface Props {
  search: UsageSearch;
  period: Period;
  onSearch: ChangeSearch;
}

/** The days that the page shows: a preset, or two dates. */
export function RangePicker({ search, period, onSearch }: Props) {
  const { range = "7d" } = search;
  const last = lastDay(period);
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
      <Segments
        label={t("range.label")}
        value={range}
        options={RANGES.map((value) => ({ value, label: t(`range.${value}`) }))}
        onChange={(next) =>
          onSearch({
            range: next === "7d" ? undefined : next,
            // The dates begin with those that were shown.
            from: next === "custom" ? period.from : undefined,
            through: next === "custom" ? last : undefined,
            page: undefined,
          })
        }
      />
      {range === "custom" && (
        <div className="flex flex-wrap items-center gap-2 text-sm">
          <DayField
            label={t("range.from")}
            value={period.from}
            onChange={(from) => onSearch({ from, page: undefined }, { replace: true })}
          />
          <DayField
            label={t("range.through")}
            value={last}
            onChange={(through) => onSearch({ through, page: undefined }, { replace: true })}
          />
        </div>
      )}
    </div>
  );
}

interface DayProps {
  label: string;
  value: string;
  onChange: (day: string) => void;
}

function DayField({ label, value, onChange }: DayProps) {
  return (
    <label className="flex items-center gap-2">
      <span className="text-muted">{label}</span>
      <input
        type="date"
        // A date that is being typed must not be replaced by the one in the URL.
        key={value}
        defaultValue={value}
        required
        onBlur={(event) => {
          const day = event.target.value;
          if (day !== "" && day !== value) onChange(day);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter") event.currentTarget.blur();
        }}
        className="control"
      />
    </label>
  );
}
