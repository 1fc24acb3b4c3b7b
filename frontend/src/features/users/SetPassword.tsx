import { Sparkles } from "lucide-react";
import { type FormEvent, useState } from "react";
import { fieldError } from "@/api/problem";
import { Button } from "@/components/Button";
import { CopyButton } from "@/components/CopyButton";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Panel } from "@/components/Panel";
import { PasswordField } from "@/components/PasswordField";
import { type User, useSetPassword } from "@/features/users/queries";
import { t } from "@/features/users/text";
import { notify } from "@/lib/notify";
import { generatePassword } from "@/lib/password";

/** Sets the password that the user signs in with. */
export function SetPassword({ user }: { user: User }) {
  const set = useSetPassword(user.id);
  const [password, setPassword] = useState("");
  const [generated, setGenerated] = useState("");
  const [isMissing, setIsMissing] = useState(false);

  const generate = () => {
    const fresh = generatePassword();
    setGenerated(fresh);
    setPassword(fresh);
    setIsMissing(false);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setIsMissing(password === "");
    if (password === "") return set.reset();
    return set.mutate(password, {
      onSuccess: () => {
        setPassword("");
        setGenerated("");
        notify(t("password.updated"));
      },
    });
  };

  return (
    <Panel title={t("password.title")} level={3} description={t("password.description")}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <div className="grid items-start gap-2 sm:grid-cols-[minmax(0,22rem)_auto]">
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
            key={generated}
            label={t("password.new")}
            autoComplete="new-password"
            value={password}
            onChange={(event) => setPassword(event.target.value)}
            isInitiallyShown={generated !== ""}
            error={isMissing ? t("password.required") : fieldError(set.error, "/password")}
          />
          <div className="flex gap-1 sm:pt-6">
            <Button icon={Sparkles} target={t("password.generateTarget")} onClick={generate}>
              {t("password.generate")}
            </Button>
          </div>
        </div>
        {generated !== "" && generated === password && (
          <p className="flex flex-wrap items-center gap-x-1 text-muted text-sm">
            {t("password.handOver")}
            <CopyButton text={generated} target={t("password.copyTarget")} />
          </p>
        )}
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
