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

/** How long ago or until when, with the exact time as its title. */
export function TimeText({ time, never, isShort = false }: Props) {
  const now = useNow(10_000);
  if (time === null) return <span className="text-muted">{never ?? t("time.never")}</span>;
  return (
    <time dateTime={time} title={absoluteTime(time)} className="whitespace-nowrap">
      {relativeTime(time, now, isShort ? "short" : "long")}
    </time>
  );
}
