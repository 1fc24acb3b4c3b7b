import { Download, Trash2 } from "lucide-react";
import { Button } from "@/components/Button";
import { CopyButton } from "@/components/CopyButton";
import { Dialog, DialogActions } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { ManagedNotice } from "@/components/Managed";
import { ManifestButton } from "@/components/ManifestButton";
import { Notice } from "@/components/Notice";
import { Memory } from "@/features/models/BackendCell";
import { bytesText, hostOf } from "@/features/models/format";
import { differenceOf, isPresent } from "@/features/models/model-state";
import { type Model, type ModelBackend, useStartPull } from "@/features/models/queries";
import { t } from "@/features/models/text";
import { notify } from "@/lib/notify";

interface Props {
  model: Model;
  onDelete: () => void;
  onClose: () => void;
}

/** All that is known of one model, and what can be done with it. */
export function ModelDetails({ model, onDelete, onClose }: Props) {
  const start = useStartPull();
  const difference = differenceOf(model);
  const pull = () =>
    start.mutate(model.model, {
      onSuccess: () => {
        notify(t("pull.started", { model: model.name }));
        onClose();
      },
    });
  return (
    <Dialog title={model.name} onClose={onClose}>
      <dl className="grid grid-cols-[auto_minmax(0,1fr)] items-baseline gap-x-4 gap-y-1">
        <dt className="text-muted text-sm">{t("details.canonical")}</dt>
        <dd className="flex flex-wrap items-center gap-x-2">
          <code className="font-mono text-xs wrap-anywhere">{model.model}</code>
          <CopyButton text={model.model} target={t("details.canonicalTarget")} />
        </dd>
      </dl>
      {difference !== undefined && (
        <Notice tone="warning" title={t(`details.difference.${difference}.title`)}>
          {t(`details.difference.${difference}.detail`)}
        </Notice>
      )}
      {model.managed_by.map((owner) => (
        <ManagedNotice key={owner.uid} owner={owner} kind="ollamamodel" />
      ))}
      <ul className="flex flex-col divide-y divide-line rounded-lg border border-line">
        {model.backends.map((backend) => (
          <BackendItem key={backend.url} backend={backend} />
        ))}
      </ul>
      <ErrorNotice error={start.error} />
      <DialogActions>
        {model.managed_by.length === 0 && isPresent(model) && (
          <ManifestButton
            size="md"
            choice={{ kind: "models", model: model.model }}
            what={model.name}
            target={model.name}
          />
        )}
        {model.managed_by.length === 0 && isPresent(model) && (
          <Button icon={Trash2} onClick={onDelete}>
            {t("details.delete")}
          </Button>
        )}
        <Button
          icon={Download}
          isBusy={start.isPending}
          disabled={model.pull !== null}
          onClick={pull}
        >
          {t(isPresent(model) ? "details.pullAgain" : "details.pull")}
        </Button>
      </DialogActions>
    </Dialog>
  );
}

function BackendItem({ backend }: { backend: ModelBackend }) {
  const { url, present, size_bytes, digest, loaded } = backend;
  const state = present === null ? "unknown" : present ? "present" : "missing";
  return (
    <li className="flex flex-col gap-1 px-3 py-2.5">
      <p className="flex flex-wrap justify-between gap-x-4">
        <span className="font-medium wrap-anywhere">{hostOf(url)}</span>
        <span className="text-muted tabular-nums">
          {t(`cell.${state}`)}
          {size_bytes !== null && `, ${bytesText(size_bytes)}`}
        </span>
      </p>
      {present === true && (loaded ? <Memory state={backend} /> : <NotLoaded />)}
      {digest !== null && (
        <p className="flex items-center justify-between gap-2">
          <code className="min-w-0 font-mono text-muted text-xs wrap-anywhere">{digest}</code>
          <CopyButton text={digest} target={t("details.digestTarget", { backend: hostOf(url) })} />
        </p>
      )}
    </li>
  );
}

function NotLoaded() {
  return <p className="text-muted text-sm">{t("cell.notLoaded")}</p>;
}
