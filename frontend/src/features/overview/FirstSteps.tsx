import { useQuery } from "@tanstack/react-query";
import { Circle, CircleCheck } from "lucide-react";
import { PageLink } from "@/components/PageLink";
import { Panel } from "@/components/Panel";
import { stepsQuery } from "@/features/overview/queries";
import { t } from "@/features/overview/text";
import type { PageId } from "@/lib/pages";

const STEPS: readonly { id: "model" | "user" | "key" | "request"; page: PageId }[] = [
  { id: "model", page: "models" },
  { id: "user", page: "users" },
  { id: "key", page: "keys" },
  { id: "request", page: "chat" },
];

/** What is left to do in a new installation. Nothing once all is done. */
export function FirstSteps() {
  // A failure is shown by the panels that need the same data.
  const { data } = useQuery(stepsQuery);
  if (data === undefined || STEPS.every(({ id }) => data[id])) return null;
  const done = STEPS.filter(({ id }) => data[id]).length;
  return (
    <Panel
      title={t("steps.title")}
      description={t("steps.description", { done, all: STEPS.length })}
    >
      <ol className="grid gap-x-6 gap-y-3 sm:grid-cols-2 xl:grid-cols-4">
        {STEPS.map(({ id, page }) => {
          const isDone = data[id];
          const Icon = isDone ? CircleCheck : Circle;
          return (
            <li key={id} className="flex min-w-0 items-start gap-2.5">
              <Icon
                aria-hidden
                className={`mt-0.75 size-4 shrink-0 ${isDone ? "text-accent-text" : "text-muted"}`}
              />
              <div className="min-w-0">
                <p className="font-medium">
                  {isDone ? (
                    <>
                      <span className="text-muted line-through">{t(`steps.${id}.name`)}</span>
                      <span className="sr-only"> {t("steps.done")}</span>
                    </>
                  ) : (
                    <PageLink page={page}>{t(`steps.${id}.name`)}</PageLink>
                  )}
                </p>
                <p className="text-muted text-sm">{t(`steps.${id}.detail`)}</p>
              </div>
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}
