import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { modelNamesQuery } from "@/api/models";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { ModelAccessField } from "@/components/ModelAccessField";
import { ModelAccessText } from "@/components/ModelAccessText";
import { Panel } from "@/components/Panel";
import { type User, useChangeUser } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";

interface Props {
  user: User;
  isReadOnly: boolean;
}

/** Which models the user may use, in words; a form on request. */
export function ModelAccess({ user, isReadOnly }: Props) {
  const [isEditing, setIsEditing] = useState(false);
  return (
    <Panel
      title={t("models.title")}
      level={3}
      actions={
        !isReadOnly &&
        !isEditing && (
          <Button size="sm" target={t("models.target")} onClick={() => setIsEditing(true)}>
            {t("change")}
          </Button>
        )
      }
    >
      {isEditing ? (
        <ModelAccessForm user={user} onDone={() => setIsEditing(false)} />
      ) : (
        <p>
          {t("models.mayUse")} <ModelAccessText models={user.models} />.
        </p>
      )}
    </Panel>
  );
}

function ModelAccessForm({ user, onDone }: { user: User; onDone: () => void }) {
  const [models, setModels] = useState(user.models);
  const known = useQuery(modelNamesQuery);
  const change = useChangeUser(user.id);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate(
      { models },
      {
        onSuccess: () => {
          notify(t("models.updated"));
          onDone();
        },
      },
    );
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      {known.isPending ? (
        <p className="text-muted">{t("models.loading")}</p>
      ) : (
        <ModelAccessField
          legend={t("models.legend")}
          initial={user.models}
          onChange={setModels}
          known={known.data ?? []}
          error={fieldError(change.error, "/models")}
        />
      )}
      <ErrorNotice error={change.error} fields={["/models"]} />
      <div className="flex flex-wrap gap-2">
        <Button type="submit" variant="primary" isBusy={change.isPending}>
          {t("models.save")}
        </Button>
        <Button target={t("models.cancelTarget")} onClick={onDone}>
          {t("cancel")}
        </Button>
      </div>
    </form>
  );
}
