import { useQuery } from "@tanstack/react-query";
import { MousePointerClick, X } from "lucide-react";
import type { ReactNode } from "react";
import { EmptyState } from "@/components/EmptyState";
import { ErrorNotice } from "@/components/ErrorNotice";
import { IconButton } from "@/components/IconButton";
import { ManagedBadge } from "@/components/Managed";
import { ManifestButton } from "@/components/ManifestButton";
import { PageLink } from "@/components/PageLink";
import { Skeleton } from "@/components/Skeleton";
import { TimeText } from "@/components/TimeText";
import { DeleteUser } from "@/features/users/DeleteUser";
import { Limits } from "@/features/users/Limits";
import { ModelAccess } from "@/features/users/ModelAccess";
import { type User, userQuery } from "@/features/users/queries";
import { SetPassword } from "@/features/users/SetPassword";
import { StateBadge } from "@/features/users/StateBadge";
import { t } from "@/features/users/text";
import { UserSettings } from "@/features/users/UserSettings";

/** More panels of a user, with those of the page that stand below them. */
export type Parts = (user: User, below: ReactNode) => ReactNode;

interface Props {
  id: number | undefined;
  onClose: () => void;
  children: Parts;
}

/** Everything that can be changed about the user that is selected in the list. */
export function SelectedUser({ id, onClose, children }: Props) {
  if (id === undefined) {
    return (
      <div className="card">
        <EmptyState icon={MousePointerClick} title={t("selection.noneTitle")}>
          {t("selection.noneDetail")}
        </EmptyState>
      </div>
    );
  }
  return (
    <OneUser id={id} onClose={onClose}>
      {children}
    </OneUser>
  );
}

function OneUser({ id, onClose, children }: Props & { id: number }) {
  const { data: user, error, refetch } = useQuery(userQuery(id));
  if (user === undefined) {
    return (
      <div className="card p-4">
        {error === null ? (
          <Skeleton label={t("selection.loading")} lines={8} />
        ) : (
          <ErrorNotice error={error} onRetry={() => void refetch()} what={t("selection.what")} />
        )}
      </div>
    );
  }
  const isManaged = user.managed_by !== null;
  return (
    <div className="flex min-w-0 flex-col gap-4">
      <div
        ref={showOnNarrowScreens}
        className="flex scroll-mt-16 items-start justify-between gap-2"
      >
        <div className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-1 pt-1">
          <h3 className="font-semibold text-lg wrap-anywhere">{user.email}</h3>
          <StateBadge user={user} />
          {user.managed_by !== null && <ManagedBadge owner={user.managed_by} />}
          <p className="w-full text-muted text-sm">
            {t("selection.id", { id: user.id })}, {t("selection.created")}{" "}
            <TimeText time={user.created_at} />
          </p>
          <p className="flex w-full flex-wrap gap-x-4 text-sm">
            <PageLink page="usage" search={{ user: user.id, by: "key" }}>
              {t("selection.usage")}
            </PageLink>
            <PageLink page="audit" search={{ user: user.id }}>
              {t("selection.events")}
            </PageLink>
          </p>
        </div>
        <div className="flex shrink-0 items-center gap-1">
          {!isManaged && (
            <ManifestButton
              choice={{ kind: "users", id: user.id }}
              what={user.email}
              target={user.email}
            />
          )}
          <IconButton
            icon={X}
            label={t("selection.close", { email: user.email })}
            onClick={onClose}
          />
        </div>
      </div>
      {error !== null && (
        <ErrorNotice error={error} onRetry={() => void refetch()} what={t("selection.what")} />
      )}
      <UserSettings user={user} />
      <SetPassword user={user} />
      {children(
        user,
        <>
          <ModelAccess user={user} isReadOnly={isManaged} />
          <Limits user={user} isReadOnly={isManaged} />
          {!isManaged && <DeleteUser user={user} onDeleted={onClose} />}
        </>,
      )}
    </div>
  );
}

/**
 * Where the user is below the list, and out of sight, selecting one scrolls there: as soon as the
 * list has its height.
 */
function showOnNarrowScreens(header: HTMLElement | null) {
  if (header === null) return undefined;
  const observer = new ResizeObserver(() => {
    const { height, top } = header.getBoundingClientRect();
    if (height === 0) return;
    observer.disconnect();
    if (top > window.innerHeight) header.scrollIntoView({ block: "start" });
  });
  observer.observe(header);
  return () => observer.disconnect();
}
