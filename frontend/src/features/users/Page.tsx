import { useQuery } from "@tanstack/react-query";
import { HeldBack } from "@/components/HeldBack";
import { PageHeader } from "@/components/PageHeader";
import { CreateUser } from "@/features/users/CreateUser";
import { usersQuery } from "@/features/users/queries";
import { type Parts, SelectedUser } from "@/features/users/SelectedUser";
import type { ChangeSearch, UsersSearch } from "@/features/users/search";
import { t } from "@/features/users/text";
import { UserList } from "@/features/users/UserList";

interface Props {
  search: UsersSearch;
  onSearch: ChangeSearch;
  /** The keys of the selected user, for example. */
  children: Parts;
}

export function UsersPage({ search, onSearch, children }: Props) {
  const users = useQuery(usersQuery(search));
  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <CreateUser onCreated={(user) => onSearch({ selected: user.id })} />
      <section aria-labelledby="admin-panel" className="flex flex-col gap-3">
        <div>
          <h2 id="admin-panel" className="font-semibold text-lg">
            {t("admin.title")}
          </h2>
          <p className="text-muted">{t("admin.description")}</p>
        </div>
        <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,6fr)_minmax(0,7fr)]">
          {/* In view beside the panels of the selected user, which are longer than a screen. */}
          <div className="min-w-0 xl:sticky xl:top-4 xl:max-h-[calc(100dvh-2rem)] xl:overflow-y-auto">
            <UserList users={users} search={search} onSearch={onSearch} />
          </div>
          <HeldBack while={users.isPending}>
            <SelectedUser
              key={search.selected}
              id={search.selected}
              onClose={() => onSearch({ selected: undefined })}
            >
              {children}
            </SelectedUser>
          </HeldBack>
        </div>
      </section>
    </>
  );
}
