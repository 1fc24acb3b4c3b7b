import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
import { aUser } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, problem, server } from "@/test/server";

const NOTHING = {
  requests: 0,
  failed: 0,
  prompt_tokens: 0,
  cached_prompt_tokens: 0,
  completion_tokens: 0,
  estimated: 0,
};

interface Installation {
  users?: object[];
  keys?: object[];
  expiring?: number;
  unused?: number;
  backends?: object[];
  models?: object[];
  usage?: object[];
  failures?: object[];
}

const BACKEND = { url: "http://gpu-1:11434", reachable: true, error: null };
const MODEL = { backends: [{ url: BACKEND.url, present: true, loaded: true }] };

/** Answers as an installation that is in use, unless `parts` says otherwise. */
function serve(parts: Installation = {}) {
  const {
    users = [aUser({ id: 1, email: "admin@example.com" }), aUser()],
    keys = [{ id: 7, label: "ci", user_id: 2 }],
    expiring = 0,
    unused = 0,
    backends = [BACKEND],
    models = [MODEL],
    usage = [{ ...NOTHING, user_id: 2, requests: 3, prompt_tokens: 1200, completion_tokens: 300 }],
    failures = [],
  } = parts;
  const asked: URLSearchParams[] = [];
  server.use(
    http.get("*/users", () => page(users)),
    http.get("*/credentials", ({ request }) => {
      const search = new URL(request.url).searchParams;
      asked.push(search);
      if (search.has("expires_before")) return page([], expiring);
      if (search.has("never_used")) return page([], unused);
      return page(keys);
    }),
    http.get("*/models", () => HttpResponse.json({ backends, models })),
    http.get("*/usage", () => page(usage)),
    http.get("*/audit", () => HttpResponse.json(failures)),
  );
  return asked;
}

const region = (name: string) => screen.findByRole("region", { name });

describe("overview", () => {
  it("shows requests and tokens of today, and who used them", async () => {
    serve();
    await renderApp("/overview");
    const today = within(await region("Today"));
    expect(today.getByText("1.5K")).toHaveAttribute("title", "1,500");
    const users = within(await region("Most tokens today"));
    expect(await users.findByRole("link", { name: "ada@example.com" })).toHaveAttribute(
      "href",
      "/ui/usage?range=today&user=2&by=key",
    );
  });

  it("shows backends and why one does not answer", async () => {
    const down = { url: "http://gpu-2:11434", reachable: false, error: "connection refused" };
    serve({ backends: [BACKEND, down] });
    await renderApp("/overview");
    const backends = within(await region("Backends"));
    expect(await backends.findByText("1 model, 1 in memory")).toBeInTheDocument();
    expect(backends.getByText("does not answer")).toBeInTheDocument();
    expect(backends.getByText("connection refused")).toBeInTheDocument();
  });

  it("says which part of the server does not work", async () => {
    serve();
    server.use(
      http.get("*/readyz", () => HttpResponse.json({ status: "ready", degraded: ["limits"] })),
    );
    await renderApp("/overview");
    expect(await screen.findByText("Paddock works with restrictions")).toBeInTheDocument();
    expect(screen.getByText(/^Each process counts requests alone/)).toBeInTheDocument();
  });

  it("lists refusals with their reason, as links to the event", async () => {
    const event = {
      id: 27,
      event_type: "access_denied",
      occurred_at: "2026-11-30T10:03:12Z",
      user_id: 2,
      credential_id: null,
      actor: "user:2",
      target: "GET /users",
      detail: "this needs the role `admin`",
    };
    serve({ failures: [event] });
    await renderApp("/overview");
    const failures = within(await region("Recent refusals and sign-in failures"));
    expect(await failures.findByText("this needs the role `admin`")).toBeInTheDocument();
    expect(await failures.findByText("ada@example.com")).toBeInTheDocument();
    const link = failures.getByRole("link", { name: "Access denied" });
    expect(link).toHaveAttribute("href", "/ui/audit?id=27");
  });

  it("counts keys that expire soon and keys that were never used", async () => {
    const asked = serve({ expiring: 2, unused: 1 });
    await renderApp("/overview");
    const keys = within(await region("Keys to check"));
    expect(await keys.findByText("2 keys expire within 7 days")).toBeInTheDocument();
    expect(keys.getByText("1 key was never used")).toBeInTheDocument();
    const filters = asked.filter((search) => search.has("state"));
    expect(filters.every((search) => search.get("state") === "active,retiring,staged")).toBe(true);
  });

  it("says so if nothing needs attention", async () => {
    serve({ usage: [] });
    await renderApp("/overview");
    expect(await screen.findByText("No key expires within 7 days")).toBeInTheDocument();
    expect(await screen.findByText("Nothing was refused")).toBeInTheDocument();
    expect(await screen.findByText("Nobody has used a model today")).toBeInTheDocument();
  });

  it("shows the cause and Retry where something failed, and the rest", async () => {
    serve();
    server.use(http.get("*/audit", () => problem(500, { kind: "internal" })));
    const { user } = await renderApp("/overview");
    expect(await screen.findByText("1 model, 1 in memory")).toBeInTheDocument();
    const retry = await screen.findByRole("button", { name: "Retry refusals and failures" });
    serve();
    await user.click(retry);
    expect(await screen.findByText("Nothing was refused")).toBeInTheDocument();
  });
});

describe("getting started", () => {
  it("leads through an empty installation", async () => {
    serve({
      users: [aUser({ id: 1 })],
      keys: [{ id: 1, label: "bootstrap", user_id: 1 }],
      models: [],
      usage: [],
    });
    await renderApp("/overview");
    const steps = within(await region("Getting started"));
    expect(steps.getByText(/^0 of 4 done/)).toBeInTheDocument();
    expect(steps.getByRole("link", { name: "Create a user" })).toHaveAttribute("href", "/ui/users");
    expect(steps.getByText("Issue a key")).toBeInTheDocument();
    expect(steps.getByText("Pull a model")).toBeInTheDocument();
    expect(steps.getByText("Send the first request")).toBeInTheDocument();
  });

  it("ticks off what is done", async () => {
    serve({ keys: [], usage: [] });
    await renderApp("/overview");
    const steps = within(await region("Getting started"));
    expect(steps.getByText(/^2 of 4 done/)).toBeInTheDocument();
    expect(steps.queryByRole("link", { name: "Create a user" })).not.toBeInTheDocument();
  });

  it("goes away when all is done", async () => {
    serve();
    await renderApp("/overview");
    expect(await screen.findByText("1 model, 1 in memory")).toBeInTheDocument();
    await waitFor(() =>
      expect(screen.queryByRole("region", { name: "Getting started" })).not.toBeInTheDocument(),
    );
  });
});
