import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/Button";
import { t } from "@/components/text";
import { notify } from "@/lib/notify";

interface Props {
  text: string;
  /** What is copied, for the accessible name: “Copy <target>”. */
  target: string;
  /** Called once the text is on the clipboard. */
  onCopy?: () => void;
}

/** Copies a text and says so. */
export function CopyButton({ text, target, onCopy }: Props) {
  const [copied, setCopied] = useState<string>();
  const isCopied = copied === text;
  const copy = async () => {
    if (await writeClipboard(text)) {
      setCopied(text);
      onCopy?.();
    } else {
      notify(t("copy.failed"));
    }
  };
  return (
    <Button
      size="sm"
      variant="quiet"
      icon={isCopied ? Check : Copy}
      target={target}
      onClick={() => void copy()}
    >
      {t(isCopied ? "copy.done" : "copy.action")}
    </Button>
  );
}

async function writeClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard API exists only on HTTPS and localhost.
    return copySelection(text);
  }
}

function copySelection(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  // Inside an open dialog, everything outside of it is inert and cannot be selected.
  const host = document.querySelector("dialog[open]") ?? document.body;
  const focused = document.activeElement;
  host.append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
  }
}
