import { Check, CircleHelp, Minus } from "lucide-react";
import { TimeText } from "@/components/TimeText";
import { bytesText, shortDigest } from "@/features/models/format";
import type { ModelBackend } from "@/features/models/queries";
import { t } from "@/features/models/text";

/** Whether a backend has a model, and what it holds of it in memory. */
export function BackendCell({ state }: { state: ModelBackend | undefined }) {
  if (state === undefined || state.present === null) {
    return (
      <p className="flex items-center gap-1.5 text-muted">
        <CircleHelp aria-hidden className="size-4" />
        {t("cell.unknown")}
      </p>
    );
  }
  if (!state.present) {
    return (
      <p className="flex items-center gap-1.5 text-muted">
        <Minus aria-hidden className="size-4" />
        {t("cell.missing")}
      </p>
    );
  }
  return (
    <div>
      <p className="flex flex-wrap items-center gap-x-1.5">
        <Check aria-hidden className="size-4 text-accent-text" />
        {t("cell.present")}
        {state.size_bytes !== null && (
          <span className="text-muted tabular-nums">{bytesText(state.size_bytes)}</span>
        )}
      </p>
      {state.loaded && <Memory state={state} />}
      {state.digest !== null && (
        <p className="font-mono text-muted text-xs">
          <span className="sr-only">{t("cell.digest")} </span>
          {shortDigest(state.digest)}
        </p>
      )}
    </div>
  );
}

/** How much GPU memory the model takes, and until when. */
export function Memory({ state }: { state: ModelBackend }) {
  const { vram_bytes, loaded_until } = state;
  return (
    <p className="text-sm">
      <span className="text-accent-text">
        {vram_bytes === null || vram_bytes === 0
          ? t("cell.loaded")
          : t("cell.loadedGpu", { size: bytesText(vram_bytes) })}
      </span>
      {loaded_until !== null && (
        <span className="text-muted">
          {" "}
          {t("cell.until")} <TimeText time={loaded_until} />
        </span>
      )}
    </p>
  );
}
