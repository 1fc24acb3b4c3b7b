import {
  BookOpenText,
  ChartColumn,
  CircleUser,
  Gauge,
  KeyRound,
  type LucideIcon,
  MessageSquareText,
  Package,
  ScrollText,
  UsersRound,
  Waypoints,
} from "lucide-react";
import { isAdmin, type Profile } from "@/api/me";

export type PageId =
  | "overview"
  | "users"
  | "keys"
  | "models"
  | "usage"
  | "audit"
  | "chat"
  | "embeddings"
  | "myUsage"
  | "account";

export type PageGroup = "manage" | "use" | "you";

interface PageInfo {
  id: PageId;
  icon: LucideIcon;
  group: PageGroup;
  /** Who may open the page. `roles`: users with any role. */
  audience: "admins" | "roles" | "everyone";
  /** Left out of an admin's navigation, because another page shows the same and more. */
  isCoveredForAdmins?: true;
}

/** The pages in the order of the navigation. A route says which it is in `staticData.page`. */
export const PAGES: readonly PageInfo[] = [
  { id: "overview", icon: Gauge, group: "manage", audience: "admins" },
  { id: "users", icon: UsersRound, group: "manage", audience: "admins" },
  { id: "keys", icon: KeyRound, group: "manage", audience: "admins" },
  { id: "models", icon: Package, group: "manage", audience: "admins" },
  { id: "usage", icon: ChartColumn, group: "manage", audience: "admins" },
  { id: "audit", icon: ScrollText, group: "manage", audience: "admins" },
  { id: "chat", icon: MessageSquareText, group: "use", audience: "roles" },
  { id: "embeddings", icon: Waypoints, group: "use", audience: "roles" },
  {
    id: "myUsage",
    icon: BookOpenText,
    group: "you",
    audience: "roles",
    isCoveredForAdmins: true,
  },
  { id: "account", icon: CircleUser, group: "you", audience: "everyone" },
];

/** Whether the user may open the page. The server enforces the same for the data on it. */
export function canOpen(profile: Profile, id: PageId): boolean {
  const audience = PAGES.find((page) => page.id === id)?.audience;
  if (audience === "everyone") return true;
  return audience === "admins" ? isAdmin(profile) : profile.roles.length > 0;
}
