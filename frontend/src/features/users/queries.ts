import { keepPreviousData, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, unwrap, unwrapPage } from "@/api/client";
import type { components } from "@/api/schema";

export type User = components["schemas"]["User"];
export type Role = components["schemas"]["Role"];
export type UserPatch = components["schemas"]["UserPatch"];
type NewUser = components["schemas"]["NewUser"];

export const PAGE_SIZE = 25;

/** The first word of every key, so that one call invalidates all queries of users. */
const KEY = "users";

export function usersQuery({ q, page = 1 }: { q?: string | undefined; page?: number | undefined }) {
  const query = { limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE, ...(q && { q }) };
  return queryOptions({
    queryKey: [KEY, "list", query],
    queryFn: ({ signal }) => unwrapPage(client.GET("/users", { params: { query }, signal })),
    placeholderData: keepPreviousData,
  });
}

export function userQuery(id: number) {
  return queryOptions({
    queryKey: [KEY, "one", id],
    queryFn: ({ signal }) =>
      unwrap(client.GET("/users/{id}", { params: { path: { id } }, signal })),
  });
}

/** Creates a user. `isNew` is false if a user with this address and external id exists already. */
export function useCreateUser() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: async (body: NewUser) => {
      const answer = client.POST("/users", { body });
      const user = await unwrap(answer);
      return { user, isNew: (await answer).response.status === 201 };
    },
    // Also the names of users that other pages show: without the new one, it would count as deleted.
    onSuccess: () => queryClient.invalidateQueries({ queryKey: [KEY] }),
  });
}

export function useChangeUser(id: number) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (body: UserPatch) =>
      unwrap(client.PATCH("/users/{id}", { params: { path: { id } }, body })),
    onSuccess: (user) => {
      queryClient.setQueryData(userQuery(id).queryKey, user);
      return queryClient.invalidateQueries({ queryKey: [KEY, "list"] });
    },
  });
}

export function useDeleteUser(id: number) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: () => unwrap(client.DELETE("/users/{id}", { params: { path: { id } } })),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: [KEY, "list"] }),
  });
}

export function useSetPassword(id: number) {
  return useMutation({
    mutationFn: (password: string) =>
      unwrap(client.POST("/users/{id}/password", { params: { path: { id } }, body: { password } })),
    // The password must not outlive the request.
    gcTime: 0,
  });
}
