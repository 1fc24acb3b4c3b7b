import { useBlocker } from "@tanstack/react-router";
import { ConfirmDialog } from "@/components/ConfirmDialog";
import { t } from "@/components/text";

interface Props {
  /** Whether something would be lost. */
  isDirty: boolean;
  /** What was changed, as in “the settings of ada@example.com”. */
  what: string;
  /** The search parameter that shows something else in the place of the form. */
  parameter: string;
}

/** Asks before another page, or another value of the parameter, throws away what was typed. */
export function UnsavedGuard({ isDirty, what, parameter }: Props) {
  const { status, proceed, reset } = useBlocker({
    shouldBlockFn: ({ current, next }) =>
      isDirty &&
      // A session that has ended cannot save anything either.
      next.pathname !== "/sign-in" &&
      (next.pathname !== current.pathname ||
        parameterOf(next.search, parameter) !== parameterOf(current.search, parameter)),
    enableBeforeUnload: isDirty,
    withResolver: true,
  });
  if (status !== "blocked") return null;
  return (
    <ConfirmDialog
      title={t("unsaved.title")}
      action={t("unsaved.discard")}
      isBusy={false}
      error={null}
      onConfirm={proceed}
      onClose={reset}
    >
      <p>{t("unsaved.detail", { what })}</p>
    </ConfirmDialog>
  );
}

function parameterOf(search: unknown, parameter: string): unknown {
  return (search as Record<string, unknown>)[parameter];
}
