import { useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { useState } from "react";
import { type ExportChoice, manifestQuery } from "@/api/manifests";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { CopyButton } from "@/components/CopyButton";
import { Dialog, DialogActions } from "@/components/Dialog";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Skeleton } from "@/components/Skeleton";
import { TextField } from "@/components/TextField";
import { t } from "@/components/text";
import { useDebounced } from "@/lib/debounce";
import { saveFile } from "@/lib/download";

interface Props {
  choice: ExportChoice;
  what: string;
  onClose: () => void;
}

/** The most lines that are shown: a browser takes seconds to lay out those of all users. */
const MAX_LINES = 400;

/** The YAML of what was made here, for `kubectl apply`. */
export default function ManifestDialog({ choice, what, onClose }: Props) {
  const [namespace, setNamespace] = useState("");
  const manifest = useQuery(manifestQuery(choice, useDebounced(namespace.trim())));
  const { data, error, isFetching, refetch } = manifest;
  const lines = data?.yaml.trimEnd().split("\n") ?? [];
  const isEmpty = data !== undefined && !lines.some((line) => line.startsWith("kind:"));
  return (
    <Dialog title={t("manifest.title", { what })} size="lg" onClose={onClose}>
      <p className="max-w-prose text-muted">{t(`manifest.about.${choice.kind}`)}</p>
      <div className="max-w-sm">
        <TextField
          label={t("manifest.namespace")}
          hint={t("manifest.namespaceHint")}
          value={namespace}
          maxLength={63}
          autoComplete="off"
          spellCheck={false}
          error={fieldError(error, "?namespace")}
          onChange={(event) => setNamespace(event.target.value)}
        />
      </div>
      <ErrorNotice
        error={error}
        fields={["?namespace"]}
        onRetry={() => void refetch()}
        what={t("manifest.what")}
      />
      {data === undefined && error === null && <Skeleton label={t("manifest.loading")} lines={8} />}
      {isEmpty && <p className="text-muted">{t("manifest.none")}</p>}
      {data !== undefined && !isEmpty && error === null && (
        <>
          <section
            aria-label={t("manifest.yaml")}
            aria-busy={isFetching}
            className="overflow-hidden rounded-lg border border-line bg-subtle"
          >
            <pre
              // biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must take the focus
              tabIndex={0}
              className="max-h-[50vh] overflow-auto px-3 py-2.5 font-mono text-xs leading-5"
            >
              <code>{lines.slice(0, MAX_LINES).join("\n")}</code>
            </pre>
          </section>
          {lines.length > MAX_LINES && (
            <p className="text-muted text-sm">
              {t("manifest.more", { count: lines.length - MAX_LINES })}
            </p>
          )}
          <DialogActions>
            <CopyButton text={data.yaml} target={t("manifest.yaml")} />
            <Button
              variant="primary"
              icon={Download}
              onClick={() => saveFile(new Blob([data.yaml], { type: "text/plain" }), data.name)}
            >
              {t("manifest.download")}
            </Button>
          </DialogActions>
        </>
      )}
    </Dialog>
  );
}
