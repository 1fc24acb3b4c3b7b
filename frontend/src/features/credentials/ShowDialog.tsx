import { RotateCw, ShieldX, Undo2 } from "lucide-react";
import { Button } from "@/components/Button";
import { Dialog } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { ManagedNotice } from "@/components/Managed";
import { ManifestButton } from "@/components/ManifestButton";
import { Notice } from "@/components/Notice";
import { EditKey } from "@/features/credentials/EditKey";
import { KeyFacts } from "@/features/credentials/KeyFacts";
import { hasEnded, nameOf, objectOf } from "@/features/credentials/names";
import type { Key } from "@/features/credentials/queries";
import { t } from "@/features/credentials/text";
import { Versions } from "@/features/credentials/Versions";
import { absoluteTime } from "@/lib/time";

interface Props {
  credential: Key;
  /** Of the last refetch. */
  error: unknown;
  onOpen: (dialog: "rotate" | "revoke" | "end-old" | "clear-override") => void;
  onClose: () => void;
}

/** Everything about one key, with all that can be done with it. */
export function ShowDialog({ credential, error, onOpen, onClose }: Props) {
  const { managed_by, overridden_at, hints } = credential;
  const isEnded = hasEnded(credential);
  return (
    <Dialog title={nameOf(credential)} size="lg" onClose={onClose}>
      <ErrorNotice error={error} />
      {overridden_at !== null && (
        <Notice
          tone="warning"
          title={t("override.notice")}
          actions={
            <Button size="sm" icon={Undo2} onClick={() => onOpen("clear-override")}>
              {t("show.clear")}
            </Button>
          }
        >
          {t("override.noticeDetail", {
            time: absoluteTime(overridden_at),
            object: objectOf(credential) ?? "",
          })}
        </Notice>
      )}
      {managed_by !== null && (
        <ManagedNotice owner={managed_by} kind="apikey">
          {!isEnded && <p>{t("show.managed")}</p>}
        </ManagedNotice>
      )}
      {hints.map((hint) => (
        <Notice key={hint.code} tone="warning" title={t("secret.hints")}>
          {hint.detail}
        </Notice>
      ))}
      <KeyFacts credential={credential} />
      {!isEnded && (
        <div className="flex flex-wrap gap-2">
          {managed_by === null && (
            <Button icon={RotateCw} onClick={() => onOpen("rotate")}>
              {t("show.rotate")}
            </Button>
          )}
          <Button icon={ShieldX} onClick={() => onOpen("revoke")}>
            {t("show.revoke")}
          </Button>
          {managed_by === null && (
            <ManifestButton
              size="md"
              choice={{ kind: "keys", id: credential.id }}
              what={nameOf(credential)}
              target={nameOf(credential)}
            />
          )}
        </div>
      )}
      <Versions credential={credential} onEndOld={() => onOpen("end-old")} />
      <EditKey credential={credential} isReadOnly={isEnded || managed_by !== null} />
    </Dialog>
  );
}
