import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it } from "vitest";
import { client, send, unwrap, unwrapPage } from "@/api/client";
import { ApiError } from "@/api/problem";
import { onSessionChange, sessionState, signIn } from "@/api/session";
import { aUser } from "@/test/fixtures";
import { accessToken, page, problem, server } from "@/test/server";

const unauthenticated = () => problem(401, { kind: "unauthenticated" });

/** Accepts only `Bearer <token>`. Returns how often the route was called. */
function acceptOnly(token: string) {
  const calls = { users: 0 };
  server.use(
    http.post("*/users", async ({ request }) => {
      calls.users += 1;
      const body = await request.json();
      const isAccepted = request.headers.get("Authorization") === `Bearer ${token}`;
      return isAccepted ? HttpResponse.json(body, { status: 201 }) : unauthenticated();
    }),
  );
  return calls;
}

const createUser = () => unwrap(client.POST("/users", { body: { email: "ada@example.com" } }));

describe("client", () => {
  beforeEach(() => signIn("admin@example.com", "password"));

  it("sends the access token", async () => {
    acceptOnly("login");
    await expect(createUser()).resolves.toMatchObject({ email: "ada@example.com" });
  });

  it("refreshes a rejected token and repeats the request with its body", async () => {
    const calls = acceptOnly("refreshed");
    await expect(createUser()).resolves.toMatchObject({ email: "ada@example.com" });
    expect(calls.users).toBe(2);
  });

  it("refreshes once for several requests", async () => {
    acceptOnly("refreshed");
    let refreshes = 0;
    server.use(
      http.post("*/auth/refresh", () => {
        refreshes += 1;
        return HttpResponse.json(accessToken("refreshed"));
      }),
    );
    await Promise.all([createUser(), createUser(), createUser()]);
    expect(refreshes).toBe(1);
  });

  it("ends the session if the cookie is rejected too", async () => {
    acceptOnly("none");
    server.use(http.post("*/auth/refresh", unauthenticated));
    let changes = 0;
    const stop = onSessionChange(() => {
      changes += 1;
    });
    await expect(createUser()).rejects.toMatchObject({ status: 401 });
    stop();
    expect(sessionState()).toBe("ended");
    expect(changes).toBe(1);
  });

  it("ends the session if the refreshed token is rejected", async () => {
    const calls = acceptOnly("none");
    await expect(createUser()).rejects.toMatchObject({ status: 401 });
    expect(sessionState()).toBe("ended");
    expect(calls.users).toBe(2);
  });

  it("keeps the session if only the current password was wrong", async () => {
    server.use(http.post("*/me/password", () => problem(401, { kind: "wrong-password" })));
    const body = { current_password: "a", new_password: "b" };
    await expect(unwrap(client.POST("/me/password", { body }))).rejects.toMatchObject({
      kind: "wrong-password",
    });
    expect(sessionState()).toBe("signed-in");
  });

  it("keeps the session if the refresh fails for another reason", async () => {
    acceptOnly("none");
    server.use(http.post("*/auth/refresh", () => problem(503, { kind: "unavailable" })));
    await expect(createUser()).rejects.toMatchObject({ status: 503 });
    expect(sessionState()).toBe("signed-in");
  });

  it("turns problem details into an error", async () => {
    const errors = [{ pointer: "/email", detail: "must have the form name@domain" }];
    server.use(http.post("*/users", () => problem(422, { kind: "invalid", errors })));
    const error = await createUser().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      kind: "invalid",
      status: 422,
      requestId: "req-1",
      fields: errors,
    });
  });

  it("reads when a retry may succeed", async () => {
    server.use(http.post("*/users", () => problem(429, { kind: "rate-limited", retryAfter: 7 })));
    const began = Date.now();
    const error = await createUser().catch((caught: unknown) => caught);
    const { retryAt } = error as ApiError;
    expect(retryAt).toBeGreaterThanOrEqual(began + 7000);
    expect(retryAt).toBeLessThan(began + 17_000);
  });

  it("reads the errors of the gateway's dialects", async () => {
    server.use(
      http.post("*/api/chat", () => HttpResponse.json({ error: "no such model" }, { status: 404 })),
      http.post("*/v1/embeddings", () =>
        HttpResponse.json({ error: { message: "no such model" } }, { status: 404 }),
      ),
    );
    for (const path of ["/api/chat", "/v1/embeddings"]) {
      await expect(send(path, { method: "POST", body: "{}" })).rejects.toMatchObject({
        status: 404,
        detail: "no such model",
      });
    }
  });

  it("says that the server is unreachable", async () => {
    server.use(http.post("*/users", () => HttpResponse.error()));
    await expect(createUser()).rejects.toMatchObject({ kind: "unreachable", status: 0 });
  });

  it("counts all rows of a list", async () => {
    server.use(http.get("*/users", () => page([aUser()], 41)));
    await expect(unwrapPage(client.GET("/users"))).resolves.toEqual({ rows: [aUser()], total: 41 });
  });
});
