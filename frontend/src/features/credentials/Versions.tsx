import type { components } from "@/api/schema";
import { Badge } from "@/components/Badge";
import { Button } from "@/components/Button";
import { Countdown } from "@/features/credentials/Countdown";
import type { Key } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";
import { absoluteTime } from "@/lib/time";

type Version = components["schemas"]["SecretVersion"];

interface Props {
  credential: Key;
  onEndOld: () => void;
}

/** The secrets that are accepted, during a rotation two or more, with the time left to each. */
export function Versions({ credential, onEndOld }: Props) {
  const { versions } = credential;
  const isRotating = versions.some(({ state }) => state === "retiring");
  if (versions.length < 2 && !isRotating) return null;
  return (
    <section aria-labelledby="versions" className="flex flex-col gap-2">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <div>
          <h3 id="versions" className="font-semibold">
            {t("show.versions")}
          </h3>
          {isRotating && <p className="text-muted text-sm">{t("show.versionsHint")}</p>}
        </div>
        {isRotating && (
          <Button size="sm" onClick={onEndOld}>
            {t("show.endOld")}
          </Button>
        )}
      </div>
      <ul className="divide-y divide-line rounded-lg border border-line">
        {versions.map((version) => (
          <li
            key={version.prefix}
            className="flex flex-wrap items-center gap-x-4 gap-y-1 px-3 py-2"
          >
            <code className="font-mono text-sm">{version.prefix}</code>
            <StateBadge state={version.state} />
            <span className="text-muted text-sm">
              {t("show.issued", { time: absoluteTime(version.issued_at) })}
            </span>
            <span className="text-sm sm:ms-auto">
              <Ending version={version} />
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function StateBadge({ state }: { state: Version["state"] }) {
  if (state === "retiring") return <Badge tone="warning">{t("show.old")}</Badge>;
  if (state === "staged") return <Badge tone="info">{t("show.staged")}</Badge>;
  return <Badge tone="accent">{t("show.current")}</Badge>;
}

function Ending({ version: { state, ends_at } }: { version: Version }) {
  if (ends_at === null) return <span className="text-muted">{t("show.endsNever")}</span>;
  if (state !== "retiring") {
    return (
      <span className="text-muted">{t("show.endsWithKey", { time: absoluteTime(ends_at) })}</span>
    );
  }
  return (
    <>
      {t("show.endsIn")} <Countdown until={ends_at} />
    </>
  );
}
