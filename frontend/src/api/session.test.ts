import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { accessToken, problem, server } from "@/test/server";

/** Each tab has its own copy of the module. */
async function openTab() {
  vi.resetModules();
  return await import("@/api/session");
}

describe("session", () => {
  beforeEach(() => {
    localStorage.clear();
    sessionStorage.clear();
  });

  it("starts with the cookie", async () => {
    const tab = await openTab();
    expect(tab.sessionState()).toBe("unknown");
    await expect(tab.startSession()).resolves.toBe(true);
    await expect(tab.accessToken()).resolves.toBe("refreshed");
  });

  it("is signed out without a cookie, and asks only once", async () => {
    let asked = 0;
    server.use(
      http.post("*/auth/refresh", () => {
        asked += 1;
        return problem(401, { kind: "unauthenticated" });
      }),
    );
    const tab = await openTab();
    await expect(tab.startSession()).resolves.toBe(false);
    await expect(tab.startSession()).resolves.toBe(false);
    expect(asked).toBe(1);
  });

  it("stays unknown while the server does not answer", async () => {
    server.use(http.post("*/auth/refresh", () => problem(503, { kind: "unavailable" })));
    const tab = await openTab();
    await expect(tab.startSession()).rejects.toMatchObject({ status: 503 });
    expect(tab.sessionState()).toBe("unknown");
  });

  it("refreshes a token that is about to expire before it is used", async () => {
    server.use(
      http.post("*/auth/login", () =>
        HttpResponse.json({ ...accessToken("login"), expires_in: 1 }),
      ),
    );
    const tab = await openTab();
    await tab.signIn("admin@example.com", "password");
    await expect(tab.accessToken()).resolves.toBe("refreshed");
  });

  it("ends in every tab when one signs out", async () => {
    const [one, two] = [await openTab(), await openTab()];
    await Promise.all([one.startSession(), two.startSession()]);
    await one.signOut();
    await vi.waitFor(() => expect(two.sessionState()).toBe("signed-out"));
    await expect(two.accessToken()).resolves.toBeUndefined();
  });

  it("starts in the other tabs when one signs in", async () => {
    const [one, two] = [await openTab(), await openTab()];
    await Promise.all([one.signOut(), two.signOut()]);
    await one.signIn("admin@example.com", "password");
    await vi.waitFor(() => expect(two.sessionState()).toBe("unknown"));
    await expect(two.startSession()).resolves.toBe(true);
  });

  it("drops the token of the former user when another signs in elsewhere", async () => {
    const [one, two] = [await openTab(), await openTab()];
    await one.signIn("ada@example.com", "password");
    await vi.waitFor(() => expect(two.sessionState()).toBe("unknown"));
    await two.signIn("bob@example.com", "password");
    await vi.waitFor(async () => expect(await one.accessToken()).toBe("refreshed"));
  });

  it("stays signed in if the sign-out fails", async () => {
    server.use(http.post("*/auth/logout", () => problem(503, { kind: "unavailable" })));
    const tab = await openTab();
    await tab.startSession();
    await expect(tab.signOut()).rejects.toMatchObject({ status: 503 });
    expect(tab.sessionState()).toBe("signed-in");
  });

  it("takes turns with other tabs by a lock", async () => {
    const request = vi.fn((_name: string, task: () => Promise<unknown>) => task());
    vi.spyOn(navigator, "locks", "get").mockReturnValue({ request } as never);
    const tab = await openTab();
    await tab.startSession();
    expect(request).toHaveBeenCalledExactlyOnceWith("paddock-refresh", expect.any(Function));
  });

  it("stores nothing", async () => {
    const tab = await openTab();
    await tab.signIn("admin@example.com", "password");
    expect(localStorage.length + sessionStorage.length).toBe(0);
    expect(location.href).not.toContain("login");
  });
});
