import { Link } from "@tanstack/react-router";
import { LogOut } from "lucide-react";
import { useProfile } from "@/api/me";
import { Button } from "@/components/Button";
import { Logo } from "@/components/Logo";
import { ThemeSwitch } from "@/components/ThemeSwitch";
import { BackendStatus } from "@/features/shell/BackendStatus";
import { PaletteButton } from "@/features/shell/PaletteButton";
import { type Page, usePages } from "@/features/shell/pages";
import { useSignOut } from "@/features/shell/sign-out";
import { t } from "@/features/shell/text";
import type { PageGroup } from "@/lib/pages";

const GROUPS: readonly PageGroup[] = ["manage", "use", "you"];

interface Props {
  onOpenPalette: () => void;
}

/** The pages that the user may open, the state of the server, and the user. */
export function Sidebar({ onOpenPalette }: Props) {
  const profile = useProfile();
  const pages = usePages(profile);
  const signOut = useSignOut();
  return (
    <div className="flex h-full flex-col gap-1 overflow-y-auto p-3">
      <div className="flex items-center gap-2 px-2 pt-1 pb-3">
        <Logo />
        <span className="font-semibold text-lg tracking-tight">Paddock</span>
      </div>
      <div className="pb-3">
        <PaletteButton onOpen={onOpenPalette} />
      </div>
      <nav aria-label={t("navigation")} className="flex flex-col gap-4">
        {GROUPS.map((group) => (
          <PageLinks
            key={group}
            title={t(`groups.${group}`)}
            pages={pages.filter((page) => page.group === group)}
          />
        ))}
      </nav>
      <div className="mt-auto flex flex-col gap-2 border-line border-t pt-3">
        <BackendStatus />
        <p className="px-2 text-muted text-sm wrap-anywhere">
          {t("signedInAs", { email: profile.email })}
        </p>
        <div className="flex items-center justify-between gap-2">
          <Button
            variant="quiet"
            size="sm"
            icon={LogOut}
            isBusy={signOut.isBusy}
            onClick={signOut.run}
          >
            {t("signOut")}
          </Button>
          <ThemeSwitch />
        </div>
      </div>
    </div>
  );
}

function PageLinks({ title, pages }: { title: string; pages: Page[] }) {
  if (pages.length === 0) return null;
  return (
    <div>
      <p className="px-2 pb-1 font-medium text-muted text-xs">{title}</p>
      <ul className="flex flex-col gap-px">
        {pages.map(({ id, icon: Icon, to }) => (
          <li key={id}>
            <Link
              to={to}
              activeOptions={{ includeSearch: false }}
              className="flex min-h-8 items-center gap-2.5 rounded-md px-2 text-muted hover:bg-hover hover:text-text aria-[current=page]:bg-hover aria-[current=page]:font-medium aria-[current=page]:text-text"
            >
              <Icon aria-hidden className="size-4 shrink-0" />
              {t(`pages.${id}`)}
            </Link>
          </li>
        ))}
      </ul>
    </div>
  );
}
