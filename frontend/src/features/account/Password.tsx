import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { PasswordField } from "@/components/PasswordField";
import { useChangePassword } from "@/features/account/queries";
import { t } from "@/features/account/text";
import { notify } from "@/lib/notify";

interface Props {
  email: string;
  /** Called when the password is changed and every session has ended. */
  onChanged: () => void;
}

interface Missing {
  current: boolean;
  next: boolean;
}

/** Changes the own password. */
export function Password({ email, onChanged }: Props) {
  const change = useChangePassword();
  const [missing, setMissing] = useState<Missing>({ current: false, next: false });
  const { error } = change;

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const current_password = String(form.get("current"));
    const new_password = String(form.get("new"));
    const found = { current: current_password === "", next: new_password === "" };
    setMissing(found);
    if (found.current || found.next) return change.reset();
    return change.mutate(
      { current_password, new_password },
      {
        onSuccess: () => {
          notify(t("password.updated"));
          onChanged();
        },
      },
    );
  };

  return (
    <Panel title={t("password.title")} description={t("password.description")}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        {/* Password managers store the password for this address. */}
        <input type="email" autoComplete="username" value={email} readOnly hidden />
        <PasswordField
          label={t("password.current")}
          name="current"
          autoComplete="current-password"
          error={
            missing.current ? t("password.currentRequired") : fieldError(error, "/current_password")
          }
        />
        <PasswordField
          label={t("password.new")}
          hint={t("password.hint")}
          name="new"
          autoComplete="new-password"
          error={missing.next ? t("password.newRequired") : fieldError(error, "/new_password")}
        />
        <ErrorNotice error={error} fields={["/current_password", "/new_password"]} />
        <div>
          <Button type="submit" variant="primary" isBusy={change.isPending}>
            {t("password.submit")}
          </Button>
        </div>
      </form>
    </Panel>
  );
}
