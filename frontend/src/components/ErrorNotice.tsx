import { RotateCw } from "lucide-react";
import { BrokenStream } from "@/api/ndjson";
import { ApiError, isAbort, isOnlyAbout } from "@/api/problem";
import { Button } from "@/components/Button";
import { CopyButton } from "@/components/CopyButton";
import { Notice } from "@/components/Notice";
import { t } from "@/components/text";
import { useSecondsUntil } from "@/lib/clock";

interface Props {
  /** What a query or mutation threw. Null, undefined and a cancelled request show nothing. */
  error: unknown;
  /** Shows Retry, which waits for the server's `Retry-After`. */
  onRetry?: (() => void) | undefined;
  /** What Retry repeats, if a page has several: “Retry” is then named “Retry <what>”. */
  what?: string | undefined;
  /** Pointers whose errors are shown at their fields. If no other error is left, shows nothing. */
  fields?: readonly string[] | undefined;
}

/** A failure: the cause, the request id to report, and what can be done now. */
export function ErrorNotice({ error, onRetry, what, fields = [] }: Props) {
  const retryAt = error instanceof ApiError ? error.retryAt : undefined;
  const wait = useSecondsUntil(retryAt);
  if (error === null || error === undefined || isAbort(error)) return null;
  if (isOnlyAbout(error, fields)) return null;
  // Nothing is wrong any more once the wait is over, and there is no Retry here to keep it for.
  if (isTooMany(error) && wait === 0 && onRetry === undefined) return null;
  const { title, detail, requestId } = describe(error);
  return (
    <Notice
      tone="danger"
      title={title}
      isAnnounced
      actions={
        onRetry !== undefined && (
          <Button size="sm" icon={RotateCw} onClick={onRetry} disabled={wait > 0} target={what}>
            {wait > 0 ? t("error.retryIn", { count: wait }) : t("error.retry")}
          </Button>
        )
      }
    >
      {detail !== "" && <p>{detail}</p>}
      {wait > 0 && onRetry === undefined && <p>{t("error.wait", { count: wait })}</p>}
      {requestId !== undefined && (
        <p className="mt-0.5 flex flex-wrap items-center gap-x-1.5 text-muted">
          {t("error.requestId")} <code className="font-mono text-xs">{requestId}</code>
          <CopyButton text={requestId} target={t("error.requestId")} />
        </p>
      )}
    </Notice>
  );
}

function isTooMany(error: unknown): boolean {
  return error instanceof ApiError && error.status === 429 && error.retryAt !== undefined;
}

interface Description {
  title: string;
  detail: string;
  requestId?: string | undefined;
}

function describe(error: unknown): Description {
  if (error instanceof BrokenStream) {
    return { title: t("error.broken.title"), detail: t("error.broken.detail") };
  }
  if (!(error instanceof ApiError)) {
    const message = error instanceof Error ? error.message : String(error);
    return {
      title: t("error.unexpected.title"),
      detail: t("error.unexpected.detail", { message }),
    };
  }
  if (error.status === 0) {
    return { title: t("error.unreachable.title"), detail: t("error.unreachable.detail") };
  }
  // Only a failure that its readers cannot explain themselves needs an id to report.
  const requestId = error.status >= 500 || error.status === 429 ? error.requestId : undefined;
  return { title: error.title, detail: sentence(error.detail), requestId };
}

/** The server's details begin in lower case and without a full stop. */
function sentence(detail: string): string {
  if (detail === "") return "";
  const capital = detail.charAt(0).toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
