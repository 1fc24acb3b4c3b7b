import { CircleAlert, CircleCheck, Info, type LucideIcon, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";

type Tone = "info" | "success" | "warning" | "danger";

interface Props {
  tone?: Tone;
  title: string;
  children?: ReactNode;
  /** Buttons below the text. */
  actions?: ReactNode;
  /** Whether screen readers announce the notice when it appears. */
  isAnnounced?: boolean;
}

const TONES: Record<Tone, { icon: LucideIcon; style: string }> = {
  info: { icon: Info, style: "bg-info-soft text-info-text" },
  success: { icon: CircleCheck, style: "bg-accent-soft text-accent-text" },
  warning: { icon: TriangleAlert, style: "bg-warning-soft text-warning-text" },
  danger: { icon: CircleAlert, style: "bg-danger-soft text-danger-text" },
};

/** A message in the place that it is about. */
export function Notice({ tone = "info", title, children, actions, isAnnounced = false }: Props) {
  const { icon: Icon, style } = TONES[tone];
  const role = isAnnounced ? (tone === "danger" ? "alert" : "status") : undefined;
  return (
    <div role={role} className={`flex gap-2.5 rounded-lg px-3 py-2.5 ${style}`}>
      <Icon aria-hidden className="mt-0.75 size-4 shrink-0" />
      <div className="flex min-w-0 flex-1 flex-col gap-1">
        <p className="font-medium">{title}</p>
        {children !== undefined && (
          <div className="text-sm text-text wrap-anywhere">{children}</div>
        )}
        {actions !== undefined && <div className="mt-1 flex flex-wrap gap-2">{actions}</div>}
      </div>
    </div>
  );
}
