import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";

interface Props {
  icon?: LucideIcon;
  title: string;
  /** What to do next. */
  children?: ReactNode;
}

/** The place of content that does not exist yet. */
export function EmptyState({ icon: Icon, title, children }: Props) {
  return (
    <div className="flex flex-col items-center gap-1 px-4 py-10 text-center">
      {Icon !== undefined && <Icon aria-hidden className="mb-1 size-6 text-muted" />}
      <p className="font-medium">{title}</p>
      {children !== undefined && <div className="max-w-prose text-muted text-sm">{children}</div>}
    </div>
  );
}
