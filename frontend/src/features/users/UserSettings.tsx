import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { Checkbox } from "@/components/Checkbox";
import { ErrorNotice } from "@/components/ErrorNotice";
import { ManagedNotice } from "@/components/Managed";
import { Notice } from "@/components/Notice";
import { Panel } from "@/components/Panel";
import { TextField } from "@/components/TextField";
import { UnsavedGuard } from "@/components/UnsavedGuard";
import { type Role, type User, useChangeUser } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";

interface Draft {
  is_active?: boolean;
  roles?: Role[];
  name?: string;
}

/** Whether the user may act, in which roles, and the name to show. */
export function UserSettings({ user }: { user: User }) {
  const change = useChangeUser(user.id);
  // What differs from the server's state until it is saved. A refetch cannot undo typing.
  const [draft, setDraft] = useState<Draft>({});
  const isActive = draft.is_active ?? user.is_active;
  const roles = draft.roles ?? user.roles;
  const name = draft.name ?? user.display_name ?? "";

  const isChanged =
    isActive !== user.is_active ||
    name !== (user.display_name ?? "") ||
    [...roles].sort().join() !== [...user.roles].sort().join();

  const setRole = (role: Role, isGiven: boolean) => {
    const others = roles.filter((each) => each !== role);
    setDraft({ ...draft, roles: isGiven ? [...others, role] : others });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate(
      // Everything else about a managed user is refused.
      user.managed_by === null
        ? { is_active: isActive, roles, display_name: name.trim() || null }
        : { is_active: isActive },
      {
        onSuccess: () => {
          setDraft({});
          notify(t("settings.updated"));
        },
      },
    );
  };

  return (
    <Panel title={t("settings.title")} level={3}>
      <UnsavedGuard
        isDirty={isChanged}
        what={t("settings.unsaved", { email: user.email })}
        parameter="selected"
      />
      <form onSubmit={submit} className="flex flex-col gap-3">
        {user.managed_by !== null && (
          <ManagedNotice owner={user.managed_by} kind="apiuser">
            <p>{t(user.overridden_at === null ? "settings.managed" : "settings.overridden")}</p>
          </ManagedNotice>
        )}
        {roles.length === 0 && <Notice tone="warning" title={t("settings.noRole")} />}
        <Checkbox
          label={t("settings.active")}
          hint={t("settings.activeHint")}
          checked={isActive}
          onChange={(event) => setDraft({ ...draft, is_active: event.target.checked })}
        />
        <fieldset disabled={user.managed_by !== null} className="flex flex-col gap-3">
          <legend className="sr-only">{t("settings.roles")}</legend>
          <Checkbox
            label={t("settings.admin")}
            hint={t("settings.adminHint")}
            checked={roles.includes("admin")}
            onChange={(event) => setRole("admin", event.target.checked)}
          />
          <Checkbox
            label={t("settings.user")}
            hint={t("settings.userHint")}
            checked={roles.includes("user")}
            onChange={(event) => setRole("user", event.target.checked)}
          />
          <div className="max-w-sm">
            <TextField
              label={t("settings.displayName")}
              value={name}
              maxLength={200}
              autoComplete="off"
              onChange={(event) => setDraft({ ...draft, name: event.target.value })}
              error={fieldError(change.error, "/display_name")}
            />
          </div>
        </fieldset>
        <ErrorNotice error={change.error} fields={["/display_name"]} />
        <div>
          <Button type="submit" variant="primary" isBusy={change.isPending}>
            {t("settings.save")}
          </Button>
        </div>
      </form>
    </Panel>
  );
}
