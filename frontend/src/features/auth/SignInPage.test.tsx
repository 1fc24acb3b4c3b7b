import { screen, waitFor } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
import { aProfile } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { accessToken, page, problem, serveNothing, server } from "@/test/server";

async function signIn(user: Awaited<ReturnType<typeof renderApp>>["user"]) {
  await user.type(await screen.findByRole("textbox", { name: "Username" }), "ada@example.com");
  await user.type(screen.getByLabelText("Password"), "violet harbour tangle 93");
  await user.click(screen.getByRole("button", { name: "Sign in" }));
}

describe("sign-in page", () => {
  it("is shown to visitors, and leads back to the page they asked for", async () => {
    server.use(http.get("*/users", () => page([])));
    const { user, router } = await renderApp("/users?q=ada", { as: null });
    await screen.findByRole("button", { name: "Sign in" });
    server.use(http.get("*/me", () => HttpResponse.json(aProfile())));
    await signIn(user);
    await screen.findByRole("heading", { name: "User Management" });
    expect(router.state.location.pathname).toBe("/users");
    expect(router.state.location.search).toEqual({ q: "ada" });
  });

  it("does not follow a link to another host", async () => {
    serveNothing();
    const { user, router } = await renderApp("/sign-in?next=//evil.example/", { as: null });
    await screen.findByRole("button", { name: "Sign in" });
    server.use(http.get("*/me", () => HttpResponse.json(aProfile())));
    await signIn(user);
    await screen.findByText("Signed in as admin@example.com");
    expect(router.history.location.pathname).toMatch(/^\/ui\//);
  });

  it("says that both fields are required", async () => {
    const { user } = await renderApp("/sign-in", { as: null });
    await user.click(await screen.findByRole("button", { name: "Sign in" }));
    expect(screen.getByRole("alert")).toHaveTextContent("Username and password are required");
  });

  it("says that the credentials are wrong", async () => {
    server.use(http.post("*/auth/login", () => problem(401, { kind: "wrong-password" })));
    const { user } = await renderApp("/sign-in", { as: null });
    await signIn(user);
    expect(await screen.findByRole("alert")).toHaveTextContent("Invalid credentials");
  });

  it("counts down after too many attempts", async () => {
    server.use(
      http.post("*/auth/login", () => problem(429, { kind: "login-locked", retryAfter: 30 })),
    );
    const { user } = await renderApp("/sign-in", { as: null });
    await signIn(user);
    expect(await screen.findByRole("alert")).toHaveTextContent(/Try again in \d+ seconds/);
    expect(screen.getByRole("button", { name: "Sign in" })).toBeDisabled();
  });

  it("forgets the refusal when the wait is over", async () => {
    server.use(
      http.post("*/auth/login", () => problem(429, { kind: "login-locked", retryAfter: 1 })),
    );
    const { user } = await renderApp("/sign-in", { as: null });
    await signIn(user);
    expect(await screen.findByRole("alert")).toBeInTheDocument();
    await waitFor(() => expect(screen.queryByRole("alert")).not.toBeInTheDocument(), {
      timeout: 3_000,
    });
    expect(screen.getByRole("button", { name: "Sign in" })).toBeEnabled();
  });

  it("says why the server refuses a sign-in", async () => {
    server.use(
      http.post("*/auth/login", () =>
        problem(403, { kind: "forbidden", title: "Forbidden", detail: "the origin is unknown" }),
      ),
    );
    const { user } = await renderApp("/sign-in", { as: null });
    await signIn(user);
    expect(await screen.findByRole("alert")).toHaveTextContent("The origin is unknown.");
  });

  it("opens the application in this tab when another tab signs in", async () => {
    server.use(http.get("*/users", () => page([])));
    const { router } = await renderApp("/sign-in?next=/users", { as: null });
    await screen.findByRole("button", { name: "Sign in" });
    server.use(
      http.get("*/me", () => HttpResponse.json(aProfile())),
      http.post("*/auth/refresh", () => HttpResponse.json(accessToken("other tab"))),
    );
    const otherTab = new BroadcastChannel("paddock-session");
    otherTab.postMessage("signed-in");
    await waitFor(() => expect(router.state.location.pathname).toBe("/users"));
    otherTab.close();
  });
});
