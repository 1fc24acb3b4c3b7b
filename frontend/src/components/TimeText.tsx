import { t } from "@/components/text";
import { useNow } from "@/lib/clock";
import { absoluteTime, relativeTime } from "@/lib/time";

interface Props {
  /** A time in RFC 3339. Null: never. */
  time: string | null;
  /** The text for null, instead of “Never”. */
  never?: string;
  /** Abbreviates the units, as in a table with many columns. */
  isShort?: boolean;
}

/** In milliseconds. */
const STEP = 10_000;

/** How long ago or until when, with the exact time as its title. */
export function TimeText({ time, never, isShort = false }: Props) {
  // The clock is behind by up to a step, and what has just happened is not yet to come.
  const now = useNow(STEP) + STEP;
  if (time === null) return <span className="text-muted">{never ?? t("time.never")}</span>;
  return (
    <time dateTime={time} title={absoluteTime(time)} className="whitespace-nowrap">
      {relativeTime(time, now, isShort ? "short" : "long")}
    </time>
  );
}
