import { ConfirmDialog } from "@/components/ConfirmDialog";
import { type Model, useDeleteModel } from "@/features/models/queries";
import { t } from "@/features/models/text";
import { notify } from "@/lib/notify";

interface Props {
  model: Model;
  onDeleted: () => void;
  onClose: () => void;
}

export function DeleteModel({ model, onDeleted, onClose }: Props) {
  const remove = useDeleteModel();
  const { name, backends } = model;
  const count = backends.filter((backend) => backend.present !== false).length;
  return (
    <ConfirmDialog
      title={t("delete.title", { model: name })}
      action={t("delete.action")}
      typed={name}
      isBusy={remove.isPending}
      error={remove.error}
      onClose={onClose}
      onConfirm={() =>
        remove.mutate(model.model, {
          onSuccess: () => {
            notify(t("delete.done", { model: name }));
            onDeleted();
          },
        })
      }
    >
      <p>{t("delete.detail", { count })}</p>
    </ConfirmDialog>
  );
}
