import { useSecondsUntil } from "@/lib/clock";
import { absoluteTime, durationText } from "@/lib/time";

/** How long until a time, to the second. */
export function Countdown({ until }: { until: string }) {
  const seconds = useSecondsUntil(new Date(until).getTime());
  return (
    <time dateTime={until} title={absoluteTime(until)} className="whitespace-nowrap tabular-nums">
      {durationText(seconds)}
    </time>
  );
}
