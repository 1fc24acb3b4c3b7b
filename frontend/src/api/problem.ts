import type { components } from "@/api/schema";

export type FieldError = components["schemas"]["FieldError"];

/** What `ApiError` is made of; only `status` and `detail` are always known. */
interface Failure {
  kind: string;
  status: number;
  title: string;
  detail: string;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  fields?: FieldError[] | undefined;
}

/** A request that failed. Its parts are for people, except `kind`, `status` and the pointers of `fields`. */
export class ApiError extends Error {
  /** The last word of the problem's type, such as `last-admin`; `unreachable` without a response. */
  readonly kind: string;
  /** The HTTP status; 0 without a response. */
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly requestId: string | undefined;
  /** When a retry may succeed, in milliseconds since the epoch. */
  readonly retryAt: number | undefined;
  readonly fields: FieldError[];

  constructor(failure: Failure) {
    super(failure.detail || failure.title);
    this.name = "ApiError";
    this.kind = failure.kind;
    this.status = failure.status;
    this.title = failure.title;
    this.detail = failure.detail;
    this.requestId = failure.requestId;
    this.retryAt =
      failure.retryAfter === undefined ? undefined : Date.now() + failure.retryAfter * 1000;
    this.fields = failure.fields ?? [];
  }
}

/**
 * Reads the error of a response. Understands problem details (RFC 9457) and the error formats of
 * Ollama and OpenAI, which the gateway uses.
 */
export async function readError(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  return toError(response, parseJson(text) ?? text);
}

/** The same for a body that was already read. */
export function toError(response: Response, body: unknown): ApiError {
  const value = isObject(body) ? body : {};
  return new ApiError({
    kind: lastWord(text(value.type)) ?? "unknown",
    status: response.status,
    title: text(value.title) ?? (response.statusText || `HTTP ${response.status}`),
    detail: text(value.detail) ?? gatewayMessage(value.error) ?? "",
    requestId: text(value.request_id) ?? response.headers.get("X-Request-Id") ?? undefined,
    retryAfter: seconds(response.headers.get("Retry-After")),
    fields: Array.isArray(value.errors) ? value.errors.filter(isFieldError) : [],
  });
}

/** The error of a request that got no response. */
export function unreachable(cause: unknown): ApiError {
  const error = new ApiError({ kind: "unreachable", status: 0, title: "", detail: "" });
  error.cause = cause;
  return error;
}

/** Whether the user or the page cancelled the request. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** What the server says about one value, such as `/email`, `?limit` or `{id}`, or a part of it. */
export function fieldError(error: unknown, pointer: string): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  return error.fields.find((field) => isWithin(field.pointer, pointer))?.detail;
}

/** Whether every error is about one of these values, so that their fields show all of it. */
export function isOnlyAbout(error: unknown, pointers: readonly string[]): boolean {
  if (!(error instanceof ApiError) || error.fields.length === 0) return false;
  return error.fields.every((field) => pointers.some((each) => isWithin(field.pointer, each)));
}

/** `/models/0` is a part of `/models`. */
function isWithin(pointer: string, whole: string): boolean {
  return pointer === whole || pointer.startsWith(`${whole}/`);
}

function gatewayMessage(error: unknown): string | undefined {
  return text(error) ?? (isObject(error) ? text(error.message) : undefined);
}

function lastWord(type: string | undefined): string | undefined {
  return type?.split("/").at(-1) || undefined;
}

function seconds(header: string | null): number | undefined {
  return header !== null && /^\d+$/.test(header) ? Number(header) : undefined;
}

function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isFieldError(value: unknown): value is FieldError {
  return isObject(value) && text(value.pointer) !== undefined && text(value.detail) !== undefined;
}
