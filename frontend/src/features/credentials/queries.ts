import { keepPreviousData, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, unwrap, unwrapPage } from "@/api/client";
import { ApiError } from "@/api/problem";
import type { components } from "@/api/schema";
import type { KeyFilter } from "@/features/credentials/search";
import { t } from "@/features/credentials/text";

export type Key = components["schemas"]["Credential"];
export type Scope = components["schemas"]["Scope"];
type NewKey = components["schemas"]["NewCredential"];
export type KeyPatch = components["schemas"]["CredentialPatch"];
export type User = components["schemas"]["User"];
/** A key with its secret. It stays in the state of the dialog that shows it, and nowhere else. */
export type IssuedKey = components["schemas"]["IssuedKey"];

/** The first word of every query of keys, so that one call invalidates all of them. */
const KEY = "credentials";
const OWNERS_SHOWN = 20;
const DAY = 86_400_000;

/** A page of the keys that the filter selects. A time in the filter is counted from each request. */
export function keysQuery(filter: KeyFilter, pageSize: number) {
  return queryOptions({
    queryKey: [KEY, "list", filter, pageSize],
    queryFn: ({ signal }) => {
      const { page = 1, expiresWithin, ...rest } = filter;
      const query = {
        ...rest,
        limit: pageSize,
        offset: (page - 1) * pageSize,
        ...(expiresWithin !== undefined && {
          expires_before: new Date(Date.now() + expiresWithin * DAY).toISOString(),
        }),
      };
      return unwrapPage(client.GET("/credentials", { params: { query }, signal }));
    },
    placeholderData: keepPreviousData,
  });
}

export function keyQuery(id: number) {
  return queryOptions({
    queryKey: [KEY, "one", id],
    queryFn: ({ signal }) =>
      unwrap(client.GET("/credentials/{id}", { params: { path: { id } }, signal })),
  });
}

/** Users whose address, name or external id contains the text. */
export function ownersQuery(q: string) {
  const query = { limit: OWNERS_SHOWN, ...(q !== "" && { q }) };
  return queryOptions({
    queryKey: ["users", "owners", query],
    queryFn: ({ signal }) => unwrap(client.GET("/users", { params: { query }, signal })),
    placeholderData: keepPreviousData,
  });
}

export function ownerQuery(id: number) {
  return queryOptions({
    queryKey: ["users", "one", id],
    queryFn: ({ signal }) =>
      unwrap(client.GET("/users/{id}", { params: { path: { id } }, signal })),
  });
}

interface IssueInput extends Omit<NewKey, "user_id"> {
  /** The id or the address of a user. */
  owner: number | string;
}

/**
 * Hands the secret to `onIssued` only: the result of the mutation, which a cache keeps, has none.
 * An address that no user has is an error of `/owner`. `prepare` runs first: what is needed to show
 * the secret must be there before the secret is.
 */
export function useIssueKey(
  onIssued: (issued: IssuedKey, owner: User) => void,
  prepare?: () => Promise<unknown>,
) {
  return useKeyMutation(async ({ owner, ...body }: IssueInput) => {
    await prepare?.();
    const user = await findOwner(owner);
    onIssued(
      await unwrap(client.POST("/credentials", { body: { ...body, user_id: user.id } })),
      user,
    );
  });
}

async function findOwner(owner: number | string): Promise<User> {
  if (typeof owner === "number") {
    return unwrap(client.GET("/users/{id}", { params: { path: { id: owner } } }));
  }
  const query = { q: owner, limit: OWNERS_SHOWN };
  const users = await unwrap(client.GET("/users", { params: { query } }));
  const user = users.find(({ email }) => email.toLowerCase() === owner.toLowerCase());
  if (user !== undefined) return user;
  const detail = t("issue.ownerUnknown");
  const fields = [{ pointer: "/owner", detail }];
  throw new ApiError({ kind: "unknown-owner", status: 422, title: detail, detail: "", fields });
}

/** The same for a rotation. The old secret ends after the grace, in seconds. */
export function useRotateKey(id: number, onSecret: (issued: IssuedKey) => void) {
  return useKeyMutation(async (grace: number) => {
    const params = { path: { id } };
    const body = { grace_seconds: grace };
    onSecret(await unwrap(client.POST("/credentials/{id}/rotate", { params, body })));
  });
}

export function useChangeKey(id: number) {
  return useKeyMutation((body: KeyPatch) =>
    unwrap(client.PATCH("/credentials/{id}", { params: { path: { id } }, body })),
  );
}

export function useRevokeKey(id: number) {
  return useKeyMutation(() =>
    unwrap(client.POST("/credentials/{id}/revoke", { params: { path: { id } } })),
  );
}

/** Ends every secret but the current one. */
export function useEndGrace(id: number) {
  return useKeyMutation(() =>
    unwrap(client.POST("/credentials/{id}/end-grace", { params: { path: { id } } })),
  );
}

export function useClearOverride(id: number) {
  return useKeyMutation(() =>
    unwrap(client.POST("/credentials/{id}/clear-override", { params: { path: { id } } })),
  );
}

function useKeyMutation<Input = void, Output = unknown>(
  mutationFn: (input: Input) => Promise<Output>,
) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn,
    onSuccess: () => queryClient.invalidateQueries({ queryKey: [KEY] }),
    gcTime: 0,
  });
}
