import createClient from "openapi-fetch";
import { type ApiError, toError, unreachable } from "@/api/problem";
import type { paths } from "@/api/schema";

/**
 * The session of this browser. The refresh token is an HttpOnly cookie; the access token lives in
 * this module only, never in storage, the URL or the query cache.
 */

/** `unknown` until the cookie was tried; `ended` if the server ended the session. */
type State = "unknown" | "signed-in" | "signed-out" | "ended";

interface Token {
  value: string;
  /** In milliseconds since the epoch. */
  expiresAt: number;
}

/** What one tab tells the others. */
type Announcement = "signed-in" | "signed-out";

const REFRESH_LOCK = "paddock-refresh";
/** A tab that gets no answer must not keep the other tabs waiting. In milliseconds. */
const REFRESH_TIMEOUT = 15_000;
/** A token this close to its end is refreshed before it is used. In milliseconds. */
const MIN_TOKEN_LIFETIME = 5_000;

const anonymous = createClient<paths>({
  baseUrl: location.origin,
  fetch: (request) => fetch(request),
});
const channel = new BroadcastChannel("paddock-session");
const listeners = new Set<() => void>();

let state: State = "unknown";
let token: Token | undefined;
let refreshing: Promise<Token | undefined> | undefined;

channel.addEventListener("message", ({ data }: MessageEvent<Announcement>) => {
  if (data === "signed-out") return change("signed-out");
  // The cookie may belong to another user now. A token of the former one is not used again.
  if (token !== undefined) token.expiresAt = 0;
  return change(state === "signed-in" ? "signed-in" : "unknown");
});

/** Calls `listener` when the user signs in or out, here or in another tab. */
export function onSessionChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function sessionState(): State {
  return state;
}

/** Starts the session with the cookie. Returns whether the browser is signed in; throws `ApiError`. */
export async function startSession(): Promise<boolean> {
  if (state === "unknown") state = (await refresh(undefined)) ? "signed-in" : "signed-out";
  return state === "signed-in";
}

/** Throws `ApiError`; `wrong-password` if the name or the password is wrong. */
export async function signIn(username: string, password: string): Promise<void> {
  const answer = await attempt(anonymous.POST("/auth/login", { body: { username, password } }));
  if (answer.data === undefined) throw toError(answer.response, answer.error);
  keep(answer.data);
  change("signed-in");
  channel.postMessage("signed-in" satisfies Announcement);
}

/** Ends the session on the server and in every tab. With `all`, also those of other browsers. */
export async function signOut(all = false): Promise<void> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token.value}` };
  const params = all ? { query: { all: true } } : {};
  const answer = await attempt(anonymous.POST("/auth/logout", { params, headers }));
  if (!answer.response.ok) throw toError(answer.response, answer.error);
  change("signed-out");
  channel.postMessage("signed-out" satisfies Announcement);
}

/** The access token, refreshed if it is about to expire. */
export async function accessToken(): Promise<string | undefined> {
  if (token !== undefined && token.expiresAt - Date.now() < MIN_TOKEN_LIFETIME) {
    return renewToken(token.value);
  }
  return token?.value;
}

/** A token newer than `used`, which the server rejected. Without one, the session ends. */
export async function renewToken(used: string): Promise<string | undefined> {
  const renewed = await refresh(used);
  if (renewed === undefined) endSession();
  return renewed?.value;
}

/** The server no longer accepts this session. */
export function endSession(): void {
  if (state !== "signed-in") return;
  change("ended");
}

function change(to: State): void {
  state = to;
  if (to !== "signed-in") token = undefined;
  for (const listener of listeners) listener();
}

function refresh(used: string | undefined): Promise<Token | undefined> {
  refreshing ??= inTurn(async () => {
    if (token !== undefined && token.value !== used) return token;
    return exchangeCookie();
  }).finally(() => {
    refreshing = undefined;
  });
  return refreshing;
}

async function exchangeCookie(): Promise<Token | undefined> {
  const signal = AbortSignal.timeout(REFRESH_TIMEOUT);
  const answer = await attempt(anonymous.POST("/auth/refresh", { signal }));
  if (answer.data !== undefined) return keep(answer.data);
  if (answer.response.status === 401) return undefined;
  throw toError(answer.response, answer.error);
}

/**
 * Runs `task` while no other tab refreshes: each exchange consumes the cookie. Web Locks exist only
 * on HTTPS and localhost; elsewhere the server's grace for a consumed cookie must do.
 */
function inTurn<T>(task: () => Promise<T>): Promise<T> {
  const locks = navigator.locks as LockManager | undefined | null;
  return locks ? locks.request(REFRESH_LOCK, task) : task();
}

function keep(answer: { access_token: string; expires_in: number }): Token {
  token = { value: answer.access_token, expiresAt: Date.now() + answer.expires_in * 1000 };
  return token;
}

/** Turns a request without a response into an `ApiError`. */
async function attempt<T>(request: Promise<T>): Promise<T> {
  return request.catch((cause: unknown): never => {
    throw unreachable(cause) satisfies ApiError;
  });
}
