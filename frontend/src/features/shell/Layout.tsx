import { useLocation } from "@tanstack/react-router";
import { Menu } from "lucide-react";
import { type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { useProfile } from "@/api/me";
import { IconButton } from "@/components/IconButton";
import { Logo } from "@/components/Logo";
import { Notice } from "@/components/Notice";
import { Skeleton } from "@/components/Skeleton";
import { Drawer } from "@/features/shell/Drawer";
import { PaletteHost } from "@/features/shell/PaletteHost";
import { Sidebar } from "@/features/shell/Sidebar";
import { StatusBanner } from "@/features/shell/StatusBanner";
import { t } from "@/features/shell/text";
import { usePalette } from "@/features/shell/use-palette";

/** The frame of every page after sign-in: the navigation beside the page. */
export function Layout({ children }: { children: ReactNode }) {
  const profile = useProfile();
  const main = useFocusOnNewPage();
  const [isPaletteOpen, setIsPaletteOpen] = usePalette();
  const openPalette = () => setIsPaletteOpen(true);
  return (
    <div className="lg:grid lg:grid-cols-[15rem_minmax(0,1fr)]">
      <a
        href="#content"
        className="fixed start-3 -top-20 z-50 rounded-md bg-accent px-3 py-1.5 text-on-accent focus:top-3"
      >
        {t("skip")}
      </a>
      <header className="sticky top-0 hidden h-dvh border-line border-e bg-surface lg:block">
        <Sidebar onOpenPalette={openPalette} />
      </header>
      <TopBar onOpenPalette={openPalette} />
      <main
        id="content"
        ref={main}
        tabIndex={-1}
        className="mx-auto flex w-full max-w-[88rem] flex-col gap-5 px-4 py-5 outline-none [--sticky-top:3.0625rem] sm:px-6 lg:[--sticky-top:0px] lg:px-8 lg:py-7"
      >
        <StatusBanner />
        {profile.roles.length === 0 && (
          <Notice tone="warning" title={t("noRole.title")}>
            {t("noRole.detail")}
          </Notice>
        )}
        <Suspense fallback={<Skeleton label={t("loading")} lines={6} />}>{children}</Suspense>
      </main>
      {isPaletteOpen && <PaletteHost onClose={() => setIsPaletteOpen(false)} />}
    </div>
  );
}

/** Moves the focus to a page that was opened by a link, as a browser does when it loads one. */
function useFocusOnNewPage() {
  const main = useRef<HTMLElement>(null);
  const path = useLocation({ select: (location) => location.pathname });
  const shown = useRef(path);
  useEffect(() => {
    if (shown.current !== path) main.current?.focus({ preventScroll: true });
    shown.current = path;
  }, [path]);
  return main;
}

/** On narrow screens, the way to the navigation. */
function TopBar({ onOpenPalette }: { onOpenPalette: () => void }) {
  const [isOpen, setIsOpen] = useState(false);
  const path = useLocation({ select: (location) => location.pathname });
  const [openedAt, setOpenedAt] = useState(path);
  if (isOpen && openedAt !== path) setIsOpen(false);
  return (
    <header className="sticky top-0 z-30 flex items-center gap-2 border-line border-b bg-surface px-3 py-2 lg:hidden">
      <IconButton
        icon={Menu}
        label={t("menu")}
        aria-haspopup="dialog"
        onClick={() => {
          setOpenedAt(path);
          setIsOpen(true);
        }}
      />
      <Logo />
      <span className="font-semibold tracking-tight">Paddock</span>
      {isOpen && (
        <Drawer label={t("menu")} onClose={() => setIsOpen(false)}>
          <Sidebar
            onOpenPalette={() => {
              setIsOpen(false);
              onOpenPalette();
            }}
          />
        </Drawer>
      )}
    </header>
  );
}
