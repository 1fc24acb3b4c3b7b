import { type ReactNode, useId } from "react";

interface Props {
  title: string;
  description?: ReactNode;
  /** The level of the heading below the page's `h1`. */
  level?: 2 | 3;
  /** Buttons or badges at the end of the heading's line. */
  actions?: ReactNode;
  /** No padding around the content, as for a table that reaches the edges. */
  isFlush?: boolean;
  children?: ReactNode;
}

/** A titled part of a page, a region of its own. */
export function Panel(props: Props) {
  const { title, description, level = 2, actions, isFlush = false, children } = props;
  const id = useId();
  const Heading = level === 2 ? "h2" : "h3";
  return (
    <section aria-labelledby={id} className="card min-w-0">
      <div
        className={`flex flex-wrap items-start justify-between gap-x-4 gap-y-2 px-4 pt-3 ${children ? "" : "pb-3.5"}`}
      >
        <div className="min-w-0">
          <Heading id={id} className="font-semibold leading-7 wrap-anywhere">
            {title}
          </Heading>
          {description !== undefined && (
            <div className="max-w-prose text-muted text-sm">{description}</div>
          )}
        </div>
        {actions !== undefined && <div className="flex flex-wrap gap-2">{actions}</div>}
      </div>
      {children && <div className={isFlush ? "pt-2" : "px-4 pt-2 pb-4"}>{children}</div>}
    </section>
  );
}
