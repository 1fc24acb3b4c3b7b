import { useQuery } from "@tanstack/react-query";
import { CircleAlert, CircleCheck } from "lucide-react";
import { useState } from "react";
import { Dialog } from "@/components/Dialog";
import { type Readiness, readinessQuery } from "@/features/shell/queries";
import { t } from "@/features/shell/text";
import { useNow } from "@/lib/clock";
import { relativeTime } from "@/lib/time";

type State = Readiness["state"] | "checking";

const DOTS: Record<State, string> = {
  ok: "bg-accent",
  degraded: "bg-warning",
  down: "bg-danger",
  unreachable: "bg-danger",
  checking: "bg-edge",
};

/** One line on whether the server works, and a dialog on what works and what does not. */
export function BackendStatus() {
  const { data, dataUpdatedAt } = useQuery(readinessQuery);
  const [isOpen, setIsOpen] = useState(false);
  const state = data?.state ?? "checking";
  return (
    <>
      <button
        type="button"
        aria-haspopup="dialog"
        onClick={() => setIsOpen(true)}
        className="flex min-h-8 w-full items-center gap-2 rounded-md px-2 text-sm hover:bg-hover"
      >
        <span aria-hidden className={`size-2 shrink-0 rounded-full ${DOTS[state]}`} />
        <span>{t("status.title")}</span>
        {/* Another element per state: a text that only grew at its start would count as moved. */}
        <span key={state} className="ms-auto ps-2 text-muted">
          {t(`status.${state}`)}
        </span>
      </button>
      {isOpen && data !== undefined && (
        <StatusDialog readiness={data} checkedAt={dataUpdatedAt} onClose={() => setIsOpen(false)} />
      )}
    </>
  );
}

interface DialogProps {
  readiness: Readiness;
  checkedAt: number;
  onClose: () => void;
}

function StatusDialog({ readiness, checkedAt, onClose }: DialogProps) {
  const now = useNow();
  return (
    <Dialog title={t("status.title")} onClose={onClose} size="sm">
      <ul className="flex flex-col gap-3">
        {partsOf(readiness).map((part) => (
          <Part key={part.title} {...part} />
        ))}
      </ul>
      <p className="text-muted text-sm">
        {t("status.checked", { time: relativeTime(checkedAt, now) })}
      </p>
    </Dialog>
  );
}

interface PartProps {
  title: string;
  isWorking: boolean;
  detail?: string;
}

function Part({ title, isWorking, detail }: PartProps) {
  const Icon = isWorking ? CircleCheck : CircleAlert;
  return (
    <li className="flex gap-2.5">
      <Icon
        aria-hidden
        className={`mt-0.75 size-4 shrink-0 ${isWorking ? "text-accent-text" : "text-danger-text"}`}
      />
      <div>
        <p>
          <span className="font-medium">{title}</span>{" "}
          <span className={isWorking ? "text-muted" : "text-danger-text"}>
            {t(isWorking ? "status.state.working" : "status.state.failing")}
          </span>
        </p>
        {detail !== undefined && <p className="text-muted text-sm">{detail}</p>}
      </div>
    </li>
  );
}

/** What works and what does not, as far as `/readyz` tells. */
function partsOf({ state, degraded, detail }: Readiness): PartProps[] {
  const server = { title: t("status.server.title"), isWorking: state !== "unreachable" };
  if (state === "unreachable") return [{ ...server, detail: t("status.server.detail") }];
  if (state === "down") {
    return [server, { title: t("status.database.title"), isWorking: false, detail }];
  }
  const known = ["ollama", "cache", "limits"] as const;
  const optional = known.map((name) =>
    degraded.includes(name)
      ? { title: t(`status.${name}.title`), isWorking: false, detail: t(`status.${name}.detail`) }
      : { title: t(`status.${name}.title`), isWorking: true },
  );
  const others = degraded
    .filter((name) => !known.some((each) => each === name))
    .map((name) => ({ title: name, isWorking: false, detail: t("status.unknown.detail") }));
  const database = {
    title: t("status.database.title"),
    isWorking: true,
    detail: t("status.database.detail"),
  };
  return [server, database, ...optional, ...others];
}
