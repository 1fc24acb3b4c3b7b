import { Badge } from "@/components/Badge";
import { bytesText, durationText, shortName } from "@/features/models/format";
import type { Pull } from "@/features/models/queries";
import "@/features/models/models.css";
import { t } from "@/features/models/text";

const TONES = {
  queued: "neutral",
  running: "info",
  succeeded: "accent",
  failed: "danger",
  cancelled: "neutral",
} as const;

/** The state of a pull, and while it runs its progress. */
export function PullState({ pull }: { pull: Pull }) {
  const { state, reason, total_bytes } = pull;
  if (state === "running") return <Progress pull={pull} />;
  return (
    <div className="flex flex-col items-start gap-1">
      <Badge tone={TONES[state]}>{t(`pulls.state.${state}`)}</Badge>
      {state === "queued" && <p className="text-muted text-sm">{t("pulls.queuedDetail")}</p>}
      {state === "succeeded" && total_bytes > 0 && (
        <p className="text-muted text-sm tabular-nums">{bytesText(total_bytes)}</p>
      )}
      {reason !== null && <p className="text-danger-text text-sm">{reason}</p>}
    </div>
  );
}

function Progress({ pull }: { pull: Pull }) {
  const { model, percent, completed_bytes, total_bytes, bytes_per_second, status } = pull;
  const left = total_bytes - completed_bytes;
  const hasSpeed = bytes_per_second !== null && bytes_per_second > 0;
  return (
    <div className="flex min-w-0 flex-col gap-1 lg:min-w-80">
      <div className="flex items-center gap-2.5">
        <progress
          max={100}
          value={percent}
          aria-label={t("pulls.progress", { model: shortName(model) })}
          className="progress h-1.5 w-0 flex-1"
        />
        <span className="w-10 shrink-0 text-end tabular-nums">
          {t("pulls.percent", { percent })}
        </span>
      </div>
      <p className="flex flex-wrap gap-x-3 text-muted text-sm tabular-nums">
        {total_bytes > 0 && (
          <span>
            {t("pulls.bytes", {
              completed: bytesText(completed_bytes),
              total: bytesText(total_bytes),
            })}
          </span>
        )}
        {hasSpeed ? (
          <>
            <span>{t("pulls.speed", { speed: bytesText(bytes_per_second) })}</span>
            {left > 0 && (
              <span>{t("pulls.left", { time: durationText(left / bytes_per_second) })}</span>
            )}
          </>
        ) : (
          <span>{status ?? t("pulls.starting")}</span>
        )}
      </p>
    </div>
  );
}
