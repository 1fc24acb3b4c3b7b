import { useMutation } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { ApiError } from "@/api/problem";
import { sessionState, signIn } from "@/api/session";
import { Button } from "@/components/Button";
import { ErrorNotice } from "@/components/ErrorNotice";
import { Logo } from "@/components/Logo";
import { Notice } from "@/components/Notice";
import { PasswordField } from "@/components/PasswordField";
import { TextField } from "@/components/TextField";
import { ThemeSwitch } from "@/components/ThemeSwitch";
import { t } from "@/features/auth/text";
import { useSecondsUntil } from "@/lib/clock";

interface Credentials {
  username: string;
  password: string;
}

/** Signs in with a password. The router then leads to the page that was asked for. */
export function SignInPage({ footer }: { footer: ReactNode }) {
  const [isIncomplete, setIsIncomplete] = useState(false);
  const attempt = useMutation({
    mutationFn: ({ username, password }: Credentials) => signIn(username, password),
    // The password must not outlive the request.
    gcTime: 0,
  });
  const wait = useSecondsUntil(retryAt(attempt.error));

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const username = String(form.get("username")).trim();
    const password = String(form.get("password"));
    const isComplete = username !== "" && password !== "";
    setIsIncomplete(!isComplete);
    if (isComplete) attempt.mutate({ username, password });
    else attempt.reset();
  };

  return (
    <div className="flex min-h-dvh flex-col items-center justify-center gap-6 px-4 py-10">
      <title>{`${t("submit")} · Paddock`}</title>
      <main className="card flex w-full max-w-sm flex-col gap-5 p-6">
        <div className="flex flex-col gap-3">
          <Logo size="lg" />
          <div>
            <h1 className="font-semibold text-xl tracking-tight">{t("title")}</h1>
            <p className="text-muted">{t("tagline")}</p>
          </div>
        </div>
        <form onSubmit={submit} noValidate className="flex flex-col gap-4">
          {sessionState() === "ended" && attempt.isIdle && <Notice title={t("ended")} />}
          <TextField
            label={t("username")}
            hint={t("usernameHint")}
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            autoFocus
          />
          <PasswordField label={t("password")} name="password" autoComplete="current-password" />
          <Outcome error={attempt.error} isIncomplete={isIncomplete} />
          <Button type="submit" variant="primary" isBusy={attempt.isPending} disabled={wait > 0}>
            {t("submit")}
          </Button>
        </form>
      </main>
      <footer className="flex w-full max-w-sm items-center justify-between gap-3">
        <div className="w-60">{footer}</div>
        <ThemeSwitch />
      </footer>
    </div>
  );
}

function Outcome({ error, isIncomplete }: { error: unknown; isIncomplete: boolean }) {
  if (isIncomplete) return <Notice tone="danger" title={t("required")} isAnnounced />;
  if (error instanceof ApiError && error.kind === "wrong-password") {
    return (
      <Notice tone="danger" title={t("invalid.title")} isAnnounced>
        {t("invalid.detail")}
      </Notice>
    );
  }
  return <ErrorNotice error={error} />;
}

function retryAt(error: unknown): number | undefined {
  return error instanceof ApiError ? error.retryAt : undefined;
}
