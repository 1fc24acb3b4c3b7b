import { Checkbox } from "@/components/Checkbox";
import type { Scope } from "@/features/credentials/queries";
import { DEFAULT_SCOPES, MANAGE_SCOPES } from "@/features/credentials/scopes";
import { SCOPES } from "@/features/credentials/search";
import { t } from "@/features/credentials/text";

interface Props {
  value: readonly Scope[];
  onChange: (scopes: Scope[]) => void;
  error?: string | undefined;
}

const GROUPS = [
  { id: "use", scopes: DEFAULT_SCOPES },
  { id: "manage", scopes: MANAGE_SCOPES },
] as const;

export function ScopesField({ value, onChange, error }: Props) {
  const set = (scope: Scope, isOn: boolean) =>
    onChange(SCOPES.filter((each) => (each === scope ? isOn : value.includes(each))));
  return (
    <fieldset className="flex min-w-0 flex-col gap-3">
      <legend className="mb-1 font-medium text-sm">{t("scopes.legend")}</legend>
      <p className="text-muted text-sm">{t("scopes.hint")}</p>
      <div className="grid gap-x-6 gap-y-3 sm:grid-cols-2">
        {GROUPS.map(({ id, scopes }) => (
          <div key={id} className="flex flex-col gap-2">
            <p className="font-medium text-muted text-xs">{t(`scopes.${id}`)}</p>
            {scopes.map((scope) => (
              <Checkbox
                key={scope}
                label={scope}
                aria-invalid={error !== undefined || undefined}
                hint={ABOUT[scope]}
                checked={value.includes(scope)}
                onChange={(event) => set(scope, event.target.checked)}
              />
            ))}
          </div>
        ))}
      </div>
      {error !== undefined && <p className="text-danger-text text-sm">{error}</p>}
    </fieldset>
  );
}

const ABOUT: Record<Scope, string> = {
  chat: t("scopes.about.chat"),
  generate: t("scopes.about.generate"),
  embed: t("scopes.about.embed"),
  "models:read": t("scopes.about.modelsRead"),
  "models:write": t("scopes.about.modelsWrite"),
  "users:read": t("scopes.about.usersRead"),
  "users:write": t("scopes.about.usersWrite"),
  "keys:read": t("scopes.about.keysRead"),
  "keys:write": t("scopes.about.keysWrite"),
  "usage:read": t("scopes.about.usageRead"),
  "audit:read": t("scopes.about.auditRead"),
};
