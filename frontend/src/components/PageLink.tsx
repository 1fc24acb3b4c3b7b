import { Link, useRouter } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { PageId } from "@/lib/pages";

interface Props {
  page: PageId;
  /** What the page's `validateSearch` reads. */
  search?: Record<string, string | number | boolean>;
  children: ReactNode;
}

/** A link to a page of the navigation by its id, as a page that need not know its address. */
export function PageLink({ page, search = {}, children }: Props) {
  const routes = Object.values(useRouter().routesById);
  const route = routes.find((each) => each.options.staticData?.page === page);
  if (route === undefined) return <span>{children}</span>;
  return (
    <Link
      to={route.fullPath as string}
      search={search as never}
      className="rounded text-accent-text underline decoration-from-font underline-offset-2"
    >
      {children}
    </Link>
  );
}
