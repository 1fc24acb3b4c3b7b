import { Trash2 } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/Button";
import { ConfirmDialog } from "@/components/ConfirmDialog";
import { Panel } from "@/components/Panel";
import { type User, useDeleteUser } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";

interface Props {
  user: User;
  onDeleted: () => void;
}

/** Deletes a user after the address was typed. */
export function DeleteUser({ user, onDeleted }: Props) {
  const [isOpen, setIsOpen] = useState(false);
  const remove = useDeleteUser(user.id);
  const confirm = () =>
    remove.mutate(undefined, {
      onSuccess: () => {
        notify(t("delete.deleted", { email: user.email }));
        onDeleted();
      },
    });
  return (
    <Panel
      title={t("delete.title")}
      level={3}
      description={t("delete.description")}
      actions={
        <Button
          size="sm"
          variant="outlineDanger"
          icon={Trash2}
          target={user.email}
          onClick={() => setIsOpen(true)}
        >
          {t("delete.open")}
        </Button>
      }
    >
      {isOpen && (
        <ConfirmDialog
          title={t("delete.question", { email: user.email })}
          action={t("delete.action")}
          typed={user.email}
          isBusy={remove.isPending}
          error={remove.error}
          onConfirm={confirm}
          onClose={() => {
            setIsOpen(false);
            remove.reset();
          }}
        >
          <p>{t("delete.consequence")}</p>
        </ConfirmDialog>
      )}
    </Panel>
  );
}
