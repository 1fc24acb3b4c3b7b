import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
import { aProfile } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, problem, serveNothing, server } from "@/test/server";

const noUsers = () => server.use(http.get("*/users", () => page([])));
const member = aProfile({ id: 7, email: "ada@example.com", roles: ["user"] });

describe("navigation", () => {
  it("lists the pages of an admin and marks the current one", async () => {
    noUsers();
    await renderApp("/users");
    const pages = await screen.findByRole("navigation", { name: "Pages" });
    expect(within(pages).getByRole("link", { name: "Users" })).toHaveAttribute(
      "aria-current",
      "page",
    );
    expect(within(pages).queryByRole("link", { name: "My usage" })).not.toBeInTheDocument();
  });

  it("says who is signed in", async () => {
    noUsers();
    await renderApp("/users");
    expect(await screen.findByText("Signed in as admin@example.com")).toBeInTheDocument();
  });

  it("denies a page that is typed into the address bar, without asking the server", async () => {
    await renderApp("/users", { as: member });
    expect(await screen.findByRole("heading", { name: "Access denied" })).toBeInTheDocument();
    expect(screen.queryByRole("link", { name: "Users" })).not.toBeInTheDocument();
  });

  it("tells a user without a role what to do", async () => {
    await renderApp("/users", { as: aProfile({ roles: [] }) });
    expect(await screen.findByText("You have no role")).toBeInTheDocument();
  });

  it("says that an address has no page", async () => {
    await renderApp("/nothing/here");
    expect(await screen.findByRole("heading", { name: "Page not found" })).toBeInTheDocument();
  });

  it("leads from the root to the first page", async () => {
    serveNothing();
    const { router } = await renderApp("/");
    await waitFor(() => expect(router.state.location.pathname).not.toBe("/"));
  });
});

describe("sign-out", () => {
  it("leads to the sign-in page", async () => {
    noUsers();
    const { user, router } = await renderApp("/users");
    await user.click(await screen.findByRole("button", { name: "Sign out" }));
    expect(await screen.findByRole("button", { name: "Sign in" })).toBeInTheDocument();
    expect(router.state.location.search).toEqual({});
  });

  it("happens here when another tab signs out", async () => {
    noUsers();
    await renderApp("/users");
    await screen.findByRole("heading", { name: "User Management" });
    const otherTab = new BroadcastChannel("paddock-session");
    otherTab.postMessage("signed-out");
    expect(await screen.findByRole("button", { name: "Sign in" })).toBeInTheDocument();
    otherTab.close();
  });

  it("says why if it fails", async () => {
    noUsers();
    server.use(
      http.post("*/auth/logout", () =>
        problem(503, { kind: "unavailable", detail: "no database" }),
      ),
    );
    const { user } = await renderApp("/users");
    await user.click(await screen.findByRole("button", { name: "Sign out" }));
    expect(await screen.findByText("You are still signed in: no database")).toBeInTheDocument();
  });

  it("returns to the same place after an expired session", async () => {
    noUsers();
    const { router, user } = await renderApp("/users?q=ada");
    await screen.findByRole("heading", { name: "User Management" });
    server.use(
      http.get("*/users", () => problem(401, { kind: "unauthenticated" })),
      http.post("*/auth/refresh", () => problem(401, { kind: "unauthenticated" })),
    );
    await user.click(screen.getByRole("button", { name: "Refresh" }));
    expect(await screen.findByText(/^Your session ended/)).toBeInTheDocument();
    expect(router.state.location.search).toEqual({ next: "/users?q=ada" });
  });
});

describe("backend status", () => {
  it("says what works and what does not", async () => {
    noUsers();
    server.use(
      http.get("*/readyz", () => HttpResponse.json({ status: "ready", degraded: ["ollama"] })),
    );
    const { user } = await renderApp("/users");
    await user.click(await screen.findByRole("button", { name: "Backend status Degraded" }));
    const dialog = screen.getByRole("dialog", { name: "Backend status" });
    expect(within(dialog).getByText("Ollama").parentElement).toHaveTextContent("Not working");
    expect(within(dialog).getByText("Database").parentElement).toHaveTextContent("Working");
  });

  it("shows the cause while the server is not ready", async () => {
    server.use(http.get("*/readyz", () => problem(503, { kind: "not-ready", detail: "database" })));
    const { user } = await renderApp("/sign-in", { as: null });
    await user.click(await screen.findByRole("button", { name: "Backend status Not ready" }));
    expect(screen.getByRole("dialog")).toHaveTextContent("database");
  });
});
