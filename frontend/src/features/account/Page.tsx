import { useQuery } from "@tanstack/react-query";
import { RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import { limitsQuery, meQuery, useProfile } from "@/api/me";
import { Button } from "@/components/Button";
import { HeldBack } from "@/components/HeldBack";
import { LimitsLeft } from "@/components/LimitsLeft";
import { PageHeader } from "@/components/PageHeader";
import { Password } from "@/features/account/Password";
import { Profile } from "@/features/account/Profile";
import { Sessions } from "@/features/account/Sessions";
import { t } from "@/features/account/text";
import { Usage } from "@/features/account/Usage";

interface Props {
  /** Called when the own sessions have ended. */
  onSignedOut: () => void;
  /** More panels, such as the own keys. */
  children: ReactNode;
}

/** The signed-in user's own data, limits and password. */
export function AccountPage({ onSignedOut, children }: Props) {
  const profile = useProfile();
  const me = useQuery(meQuery);
  const limits = useQuery(limitsQuery);
  const refresh = () => {
    void me.refetch();
    void limits.refetch();
  };
  return (
    <>
      <PageHeader
        title={t("page.title")}
        description={t("page.description")}
        actions={
          <Button icon={RotateCw} isBusy={me.isFetching || limits.isFetching} onClick={refresh}>
            {t("page.refresh")}
          </Button>
        }
      />
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,7fr)_minmax(0,5fr)]">
        <div className="flex min-w-0 flex-col gap-4">
          <Profile profile={profile} />
          <LimitsLeft limits={limits} />
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          <HeldBack while={limits.isPending}>
            <Password email={profile.email} onChanged={onSignedOut} />
            <Sessions onSignedOut={onSignedOut} />
          </HeldBack>
        </div>
      </div>
      <HeldBack while={limits.isPending}>
        <Usage profile={me} />
        {children}
      </HeldBack>
    </>
  );
}
