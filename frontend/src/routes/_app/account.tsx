import { createFileRoute } from "@tanstack/react-router";
import { useProfile } from "@/api/me";
import { AccountPage } from "@/features/account/Page";
import { OwnKeys } from "@/features/credentials/OwnKeys";

export const Route = createFileRoute("/_app/account")({
  staticData: { page: "account" },
  component: AccountRoute,
});

function AccountRoute() {
  const { id, roles } = useProfile();
  const navigate = Route.useNavigate();
  return (
    <AccountPage onSignedOut={() => void navigate({ to: "/sign-in", search: {}, replace: true })}>
      {roles.length > 0 && <OwnKeys userId={id} />}
    </AccountPage>
  );
}
