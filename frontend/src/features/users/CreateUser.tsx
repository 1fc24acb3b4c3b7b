import { UserPlus } from "lucide-react";
import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { Select } from "@/components/Select";
import { TextField } from "@/components/TextField";
import { type User, useCreateUser } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";
import { oneOf } from "@/lib/search";

const ROLES = ["user", "admin"] as const;

const ROLE_OPTIONS = [
  { value: "user", label: t("create.roles.user") },
  { value: "admin", label: t("create.roles.admin") },
  { value: "none", label: t("create.roles.none") },
];

export function CreateUser({ onCreated }: { onCreated: (user: User) => void }) {
  const create = useCreateUser();
  const [isMissing, setIsMissing] = useState(false);

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const data = new FormData(form);
    const email = String(data.get("email")).trim();
    const role = oneOf(ROLES, data.get("role"));
    setIsMissing(email === "");
    if (email === "") return create.reset();
    return create.mutate(
      { email, roles: role === undefined ? [] : [role] },
      {
        onSuccess: ({ user, isNew }) => {
          form.reset();
          notify(t(isNew ? "create.created" : "create.existed", { email: user.email }));
          onCreated(user);
        },
      },
    );
  };

  return (
    <Panel title={t("create.title")} description={t("create.description")}>
      <form onSubmit={submit} noValidate className="flex flex-col gap-3">
        <div className="grid items-start gap-3 sm:grid-cols-[minmax(0,22rem)_minmax(0,17rem)_auto]">
          <TextField
            label={t("create.email")}
            name="email"
            type="email"
            autoComplete="off"
            placeholder="ada@example.com"
            error={isMissing ? t("create.required") : fieldError(create.error, "/email")}
          />
          <Select label={t("create.role")} name="role" options={ROLE_OPTIONS} />
          <div className="sm:pt-6">
            <Button type="submit" variant="primary" icon={UserPlus} isBusy={create.isPending}>
              {t("create.submit")}
            </Button>
          </div>
        </div>
        <ErrorNotice error={create.error} fields={["/email"]} />
      </form>
    </Panel>
  );
}
