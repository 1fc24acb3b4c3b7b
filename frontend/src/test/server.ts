import { HttpResponse, http } from "msw";
import { setupServer } from "msw/node";

/** The API as a test needs it. A request that no handler expects fails the test. */
export const server = setupServer(
  http.post("*/auth/login", () => HttpResponse.json(accessToken("login"))),
  http.post("*/auth/refresh", () => HttpResponse.json(accessToken("refreshed"))),
  http.post("*/auth/logout", () => HttpResponse.json({ message: "signed out" })),
  // The keys of the selected user, on the page of another feature.
  http.get("*/credentials", () => page([])),
  http.get("*/readyz", () => HttpResponse.json({ status: "ready", degraded: [] })),
);

export function accessToken(value: string) {
  return { access_token: value, token_type: "bearer", expires_in: 900 };
}

/** A list with its total, as the API answers it. */
export function page<Row extends object>(rows: Row[], total = rows.length) {
  return HttpResponse.json(rows, { headers: { "X-Total-Count": String(total) } });
}

/** Answers as an installation without data, for a test that passes by a page of an admin. */
export function serveNothing() {
  server.use(
    http.get("*/users", () => page([])),
    http.get("*/credentials", () => page([])),
    http.get("*/usage", () => page([])),
    http.get("*/audit", () => page([])),
    http.get("*/models", () => HttpResponse.json({ backends: [], models: [] })),
  );
}

interface ProblemParts {
  kind: string;
  title?: string;
  detail?: string;
  errors?: { pointer: string; detail: string }[];
  retryAfter?: number;
}

/** An error as problem details. */
export function problem(status: number, parts: ProblemParts) {
  const { kind, title = "Title", detail = "detail", errors, retryAfter } = parts;
  return HttpResponse.json(
    { type: `/problems/${kind}`, title, status, detail, request_id: "req-1", errors },
    {
      status,
      headers: {
        "Content-Type": "application/problem+json",
        ...(retryAfter === undefined ? {} : { "Retry-After": String(retryAfter) }),
      },
    },
  );
}
