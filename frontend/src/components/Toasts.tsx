import { CircleCheck, X } from "lucide-react";
import { useEffect, useSyncExternalStore } from "react";
import { IconButton } from "@/components/IconButton";
import { t } from "@/components/text";
import { currentMessages, dismiss, type Message, subscribe } from "@/lib/notify";

/** How long a message stays, in milliseconds. */
const MESSAGE_TIMEOUT = 6_000;

/** The messages of `notify`, in a live region. */
export function Toasts() {
  const messages = useSyncExternalStore(subscribe, currentMessages);
  return (
    <div
      role="status"
      aria-label={t("notices")}
      className="pointer-events-none fixed inset-x-4 bottom-5 z-40 flex flex-col items-center gap-2"
    >
      {messages.map((message) => (
        <Toast key={message.id} message={message} />
      ))}
    </div>
  );
}

function Toast({ message }: { message: Message }) {
  useEffect(() => {
    const timer = setTimeout(() => dismiss(message.id), MESSAGE_TIMEOUT);
    return () => clearTimeout(timer);
  }, [message.id]);
  return (
    <div className="pointer-events-auto flex max-w-md items-center gap-2.5 rounded-lg border border-line bg-raised py-1.5 ps-3.5 pe-1.5 shadow-overlay">
      <CircleCheck aria-hidden className="size-4 shrink-0 text-accent-text" />
      <p className="min-w-0 wrap-anywhere">{message.text}</p>
      <IconButton
        icon={X}
        label={`${t("close")}: ${message.text}`}
        onClick={() => dismiss(message.id)}
      />
    </div>
  );
}
