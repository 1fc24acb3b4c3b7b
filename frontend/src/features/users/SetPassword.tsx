import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { PasswordField } from "@/components/PasswordField";
import { type User, useSetPassword } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";

export function SetPassword({ user }: { user: User }) {
  const set = useSetPassword(user.id);
  const [isMissing, setIsMissing] = useState(false);

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const password = String(new FormData(form).get("password"));
    setIsMissing(password === "");
    if (password === "") return set.reset();
    return set.mutate(password, {
      onSuccess: () => {
        form.reset();
        notify(t("password.updated"));
      },
    });
  };

  return (
    <Panel title={t("password.title")} level={3} description={t("password.description")}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <div className="flex max-w-sm flex-col gap-3">
          {/* Password managers store the password for this user, not for the admin. */}
          <input
            type="email"
            name="username"
            autoComplete="username"
            value={user.email}
            readOnly
            hidden
          />
          <PasswordField
            label={t("password.new")}
            name="password"
            autoComplete="new-password"
            error={isMissing ? t("password.required") : fieldError(set.error, "/password")}
          />
        </div>
        <ErrorNotice error={set.error} fields={["/password"]} />
        <div>
          <Button type="submit" variant="primary" isBusy={set.isPending}>
            {t("password.submit")}
          </Button>
        </div>
      </form>
    </Panel>
  );
}
