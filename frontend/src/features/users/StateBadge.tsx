import { Badge } from "@/components/Badge";
import type { User } from "@/features/users/queries";
import { t } from "@/features/users/text";

export function StateBadge({ user }: { user: User }) {
  return user.is_active ? (
    <Badge tone="accent">{t("state.active")}</Badge>
  ) : (
    <Badge tone="danger">{t("state.disabled")}</Badge>
  );
}
