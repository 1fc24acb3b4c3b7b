import { Monitor, Moon, Sun } from "lucide-react";
import { t } from "@/components/text";
import { setTheme, THEMES, useTheme } from "@/lib/theme";

const ICONS = { system: Monitor, light: Sun, dark: Moon };

/** Chooses between the colours of the system, light and dark. */
export function ThemeSwitch() {
  const current = useTheme();
  return (
    <fieldset className="flex rounded-md border border-line p-0.5">
      <legend className="sr-only">{t("theme.label")}</legend>
      {THEMES.map((theme) => {
        const Icon = ICONS[theme];
        return (
          <label
            key={theme}
            title={t(`theme.${theme}`)}
            className="flex h-6.5 w-8 cursor-pointer items-center justify-center rounded text-muted hover:text-text has-checked:bg-hover has-checked:text-text has-focus-visible:outline-2 has-focus-visible:outline-accent"
          >
            <input
              type="radio"
              name="theme"
              className="sr-only"
              checked={current === theme}
              onChange={() => setTheme(theme)}
            />
            <span className="sr-only">{t(`theme.${theme}`)}</span>
            <Icon aria-hidden className="size-3.75" />
          </label>
        );
      })}
    </fieldset>
  );
}
