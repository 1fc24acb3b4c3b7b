import { Eye, EyeOff } from "lucide-react";
import { type ComponentProps, useState } from "react";
import { Field, type FieldProps } from "@/components/Field";
import { IconButton } from "@/components/IconButton";
import { t } from "@/components/text";

type Props = FieldProps &
  Omit<ComponentProps<"input">, "className" | "id" | "type"> & {
    autoComplete: "current-password" | "new-password";
    /** Whether the password is legible at first, as for one that was generated. */
    isInitiallyShown?: boolean;
  };

/** A password that can be shown while it is typed. */
export function PasswordField(props: Props) {
  const { label, hint, error, isInitiallyShown = false, ...input } = props;
  const [isShown, setIsShown] = useState(isInitiallyShown);
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <div className="relative">
          <input
            {...input}
            {...control}
            type={isShown ? "text" : "password"}
            spellCheck={false}
            autoCapitalize="none"
            className="control pe-10"
          />
          <div className="absolute inset-y-0 end-0.5 flex items-center">
            <IconButton
              icon={isShown ? EyeOff : Eye}
              label={t(isShown ? "password.hide" : "password.show", { label })}
              onClick={() => setIsShown(!isShown)}
            />
          </div>
        </div>
      )}
    </Field>
  );
}
