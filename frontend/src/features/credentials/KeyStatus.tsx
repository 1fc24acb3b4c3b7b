import { Badge } from "@/components/Badge";
import { ManagedBadge } from "@/components/Managed";
import { Countdown } from "@/features/credentials/Countdown";
import type { Key } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";

const TONES = {
  active: "accent",
  retiring: "warning",
  staged: "info",
  expired: "neutral",
  revoked: "danger",
} as const;

interface Props {
  credential: Key;
  /** Without the time that is left to the old secret during a rotation. */
  isBrief?: boolean;
}

/** The state of a key; during a rotation with the time that is left to the old secret. */
export function KeyStatus({ credential, isBrief = false }: Props) {
  const ends = oldSecretEnds(credential);
  return (
    <div className="flex flex-wrap items-center gap-1">
      <Badge tone={TONES[credential.state]}>{t(`state.${credential.state}`)}</Badge>
      {credential.managed_by !== null && <ManagedBadge owner={credential.managed_by} />}
      {ends !== undefined && !isBrief && (
        <span className="text-muted text-sm">
          {t("list.oldEnds")} <Countdown until={ends} />
        </span>
      )}
    </div>
  );
}

/** When the last of the earlier secrets ends. */
function oldSecretEnds({ state, versions }: Key): string | undefined {
  if (state !== "retiring") return undefined;
  const ends = versions
    .filter((version) => version.state === "retiring")
    .map((each) => each.ends_at);
  return ends
    .filter((end) => end !== null)
    .sort()
    .at(-1);
}
