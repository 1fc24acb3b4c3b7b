import { FileCode2 } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import type { ExportChoice } from "@/api/manifests";
import { Button } from "@/components/Button";
import { t } from "@/components/text";

const ManifestDialog = lazy(() => import("@/components/ManifestDialog"));

interface Props {
  choice: ExportChoice;
  /** What is exported, as in “users” or “ada@example.com”. */
  what: string;
  /** Tells this button from that of the whole list. */
  target?: string;
  size?: "sm" | "md";
}

/** Exports what was made here as Kubernetes objects, to look at, copy and save. */
export function ManifestButton({ choice, what, target, size = "sm" }: Props) {
  const [isOpen, setIsOpen] = useState(false);
  return (
    <>
      <Button size={size} icon={FileCode2} target={target} onClick={() => setIsOpen(true)}>
        {t("manifest.open")}
      </Button>
      {isOpen && (
        <Suspense>
          <ManifestDialog choice={choice} what={what} onClose={() => setIsOpen(false)} />
        </Suspense>
      )}
    </>
  );
}
