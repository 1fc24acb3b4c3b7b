import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { LogOut, type LucideIcon, Monitor, Moon, Sun, UserRound } from "lucide-react";
import { isAdmin, useProfile } from "@/api/me";
import { usePages } from "@/features/shell/pages";
import { paletteUsersQuery } from "@/features/shell/queries";
import { useSignOut } from "@/features/shell/sign-out";
import { t } from "@/features/shell/text";
import { setTheme, THEMES } from "@/lib/theme";
import { useDebounced } from "@/lib/use-debounced";

export type PaletteGroup = "pages" | "users" | "actions";

export interface PaletteItem {
  id: string;
  group: PaletteGroup;
  icon: LucideIcon;
  label: string;
  run: () => void;
}

/** How long the typing must pause before users are searched, in milliseconds. */
const SEARCH_PAUSE = 250;
const THEME_ICONS = { system: Monitor, light: Sun, dark: Moon };

/** What the palette offers for the typed words: pages, users found by the server, and actions. */
export function usePaletteItems(words: string): { items: PaletteItem[]; isSearching: boolean } {
  const profile = useProfile();
  const navigate = useNavigate();
  const signOut = useSignOut();
  const pages = usePages(profile);
  const q = useDebounced(words.trim(), SEARCH_PAUSE);
  const users = useQuery({
    ...paletteUsersQuery(q),
    enabled: isAdmin(profile) && q.length > 1,
  });
  const fixed: PaletteItem[] = [
    ...pages.map(({ id, icon, to }) => ({
      id: `page-${id}`,
      group: "pages" as const,
      icon,
      label: t(`pages.${id}`),
      run: () => void navigate({ to }),
    })),
    ...THEMES.map((theme) => ({
      id: `theme-${theme}`,
      group: "actions" as const,
      icon: THEME_ICONS[theme],
      label: t(`palette.theme.${theme}`),
      run: () => setTheme(theme),
    })),
    { id: "sign-out", group: "actions", icon: LogOut, label: t("signOut"), run: signOut.run },
  ];
  const found: PaletteItem[] = (users.data?.rows ?? []).map((user) => ({
    id: `user-${user.id}`,
    group: "users",
    icon: UserRound,
    label: user.email,
    run: () => void navigate({ to: "/users", search: { selected: user.id } }),
  }));
  const matching = fixed.filter(({ label }) => matches(label, words));
  const of = (group: PaletteGroup) => matching.filter((item) => item.group === group);
  return {
    items: [...of("pages"), ...found, ...of("actions")],
    isSearching: users.isFetching || (isAdmin(profile) && q !== words.trim()),
  };
}

/** Whether every word occurs in the label. */
function matches(label: string, words: string): boolean {
  const text = label.toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
