import createClient from "openapi-fetch";
import { isAbort, readError, toError, unreachable } from "@/api/problem";
import type { paths } from "@/api/schema";
import { accessToken, endSession, renewToken } from "@/api/session";

/** One page of a list, and how many rows all pages have. */
export interface Page<Row> {
  rows: Row[];
  total: number;
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The typed client of the API. Pass its answers to `unwrap` or `unwrapPage`. */
export const client = createClient<paths>({ baseUrl: location.origin, fetch: authorizedFetch });

/** The body of a successful answer; throws `ApiError`. */
export async function unwrap<T>(request: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await request;
  if (!response.ok) throw toError(response, error);
  // A response without a body, such as 204, has the type `undefined`.
  return data as T;
}

/** A page of a list that counts its rows in `X-Total-Count`; throws `ApiError`. */
export async function unwrapPage<Row>(request: Promise<Answer<Row[]>>): Promise<Page<Row>> {
  const answer = await request;
  const rows = await unwrap(Promise.resolve(answer));
  return { rows, total: Number(answer.response.headers.get("X-Total-Count") ?? rows.length) };
}

/** Sends a request outside of the typed client, such as a stream. Throws `ApiError` unless 2xx. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await authorizedFetch(new Request(new URL(path, location.origin), init));
  if (!response.ok) throw await readError(response);
  return response;
}

/** Sends the access token. If the server rejects it, refreshes the session and tries once more. */
async function authorizedFetch(request: Request): Promise<Response> {
  const token = await accessToken();
  if (token === undefined) return reach(request);
  const again = request.clone();
  const response = await reach(withToken(request, token));
  if (!(await isTokenRejected(response))) return response;
  const renewed = await renewToken(token);
  if (renewed === undefined) return response;
  const second = await reach(withToken(again, renewed));
  if (await isTokenRejected(second)) endSession();
  return second;
}

function withToken(request: Request, token: string): Request {
  request.headers.set("Authorization", `Bearer ${token}`);
  return request;
}

/** A wrong current password is 401 too, and says nothing about the token. */
async function isTokenRejected(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  return (await readError(response.clone())).kind !== "wrong-password";
}

async function reach(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    throw isAbort(error) ? error : unreachable(error);
  }
}
