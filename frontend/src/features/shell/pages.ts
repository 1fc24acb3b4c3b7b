import { useRouter } from "@tanstack/react-router";
import { isAdmin, type Profile } from "@/api/me";
import { canOpen, PAGES } from "@/lib/pages";

/** A page of the navigation that has a route. */
export type Page = (typeof PAGES)[number] & { to: string };

/** The pages that the user's navigation lists, in order. */
export function usePages(profile: Profile): Page[] {
  const routes = Object.values(useRouter().routesById);
  return PAGES.flatMap((page) => {
    const isListed = canOpen(profile, page.id) && !(page.isCoveredForAdmins && isAdmin(profile));
    const route = routes.find((each) => each.options.staticData?.page === page.id);
    return isListed && route !== undefined ? [{ ...page, to: route.fullPath }] : [];
  });
}
