import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { LimitsFields, LimitsText } from "@/components/LimitsFields";
import { Panel } from "@/components/Panel";
import { type User, useChangeUser } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";

interface Props {
  user: User;
  isReadOnly: boolean;
}

/** How much the user may use, in words; a form on request. */
export function Limits({ user, isReadOnly }: Props) {
  const [isEditing, setIsEditing] = useState(false);
  return (
    <Panel
      title={t("limits.title")}
      level={3}
      actions={
        !isReadOnly &&
        !isEditing && (
          <Button size="sm" target={t("limits.target")} onClick={() => setIsEditing(true)}>
            {t("change")}
          </Button>
        )
      }
    >
      {isEditing ? (
        <LimitsForm user={user} onDone={() => setIsEditing(false)} />
      ) : (
        <p>
          <LimitsText limits={user.limits} of="user" />.
        </p>
      )}
    </Panel>
  );
}

function LimitsForm({ user, onDone }: { user: User; onDone: () => void }) {
  const [limits, setLimits] = useState(user.limits);
  const change = useChangeUser(user.id);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate(
      { limits },
      {
        onSuccess: () => {
          notify(t("limits.updated"));
          onDone();
        },
      },
    );
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <LimitsFields
        value={limits}
        onChange={setLimits}
        of="user"
        errorOf={(name) => fieldError(change.error, `/limits/${name}`)}
      />
      <ErrorNotice error={change.error} fields={["/limits"]} />
      <div className="flex flex-wrap gap-2">
        <Button type="submit" variant="primary" isBusy={change.isPending}>
          {t("limits.save")}
        </Button>
        <Button target={t("limits.cancelTarget")} onClick={onDone}>
          {t("cancel")}
        </Button>
      </div>
    </form>
  );
}
