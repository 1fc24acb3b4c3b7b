import type { ReactNode } from "react";

interface Props {
  title: string;
  /** One sentence on what the page is for. */
  description: ReactNode;
  /** Buttons at the end of the line. */
  actions?: ReactNode;
}

/** The heading of a page, and the title of its tab. A page has one. */
export function PageHeader({ title, description, actions }: Props) {
  return (
    <header className="flex flex-wrap items-start justify-between gap-x-6 gap-y-3">
      <title>{`${title} · Paddock`}</title>
      <div className="min-w-0">
        <h1 className="font-semibold text-xl tracking-tight">{title}</h1>
        <p className="mt-0.5 max-w-prose text-muted">{description}</p>
      </div>
      {actions !== undefined && <div className="flex flex-wrap gap-2">{actions}</div>}
    </header>
  );
}
