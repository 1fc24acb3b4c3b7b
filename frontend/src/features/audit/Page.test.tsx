import { screen, waitFor, within } from "@testing-library/react";
import { http } from "msw";
import { beforeEach, describe, expect, it } from "vitest";
import { EVENT_TYPES } from "@/features/audit/events";
import { anEvent, revoked, serveChain, serveEvents, serveNames } from "@/test/audit";
import { aUser } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, problem, server } from "@/test/server";

beforeEach(() => {
  serveChain();
  serveNames();
});

const rowOf = async (text: string) => {
  const cell = await screen.findByText(text);
  return within(cell.closest("tr") as HTMLElement);
};

describe("list", () => {
  it("shows time, event, user, IP and agent, and why a request was refused", async () => {
    serveEvents([anEvent()]);
    await renderApp("/audit");
    const table = await screen.findByRole("table", { name: "events" });
    const heads = within(table).getAllByRole("columnheader");
    expect(heads.map((head) => head.textContent)).toEqual([
      "Time",
      "Event",
      "User",
      "IP",
      "Agent",
      "Details",
    ]);
    const row = await rowOf("Access denied");
    expect(row.getByText("this needs the role `admin`")).toBeInTheDocument();
    expect(row.getByText("GET /users")).toBeInTheDocument();
    expect(await row.findByText("ada@example.com")).toBeInTheDocument();
    expect(row.getByText("192.0.2.7")).toBeInTheDocument();
    expect(row.getByText("Chrome 143")).toBeInTheDocument();
  });

  it("names users beyond the first thousand", async () => {
    serveEvents([anEvent({ actor: "user:4711", user_id: 4711 })]);
    const asked: (string | null)[] = [];
    server.use(
      http.get("*/users", ({ request }) => {
        const id = new URL(request.url).searchParams.get("id");
        if (id === null) return page([aUser()], 5000);
        asked.push(id);
        return page([aUser({ id: 4711, email: "zoe@example.com" })]);
      }),
    );
    await renderApp("/audit");
    const row = await rowOf("Access denied");
    expect(row.getByText("zoe@example.com")).toBeInTheDocument();
    expect(asked).toEqual(["4711"]);
  });

  it("says how often something happened once", async () => {
    const since = "2026-11-30T09:00:00.000000Z";
    const detail = `wrong password (3 times since ${since})`;
    serveEvents([anEvent({ detail, change: { before: {}, after: { times: 3, since } } })]);
    await renderApp("/audit");
    const row = await rowOf("Access denied");
    expect(row.getByText("wrong password")).toBeInTheDocument();
    expect(row.getByText("3 times")).toBeInTheDocument();
  });

  it("says who revoked which key of whom", async () => {
    serveEvents([revoked]);
    await renderApp("/audit");
    const row = await rowOf("Key revoked");
    expect(await row.findByText("admin@example.com")).toBeInTheDocument();
    expect(row.getByText("ada@example.com")).toBeInTheDocument();
    expect(await row.findByText("key ci")).toBeInTheDocument();
  });

  it.each([
    ["key:7", "ci", "key of ada@example.com"],
    ["operator:kubectl:ApiKey/team/ada", "ApiKey/team/ada", "operator, set by kubectl"],
    ["system:seed", "Paddock", "by itself: seed"],
    ["anonymous", "Anonymous", "not signed in"],
  ])("names the actor %s", async (actor, name, hint) => {
    serveEvents([anEvent({ actor })]);
    await renderApp("/audit");
    const row = await rowOf("Access denied");
    expect(await row.findByText(name)).toBeInTheDocument();
    expect(await row.findByText(hint)).toBeInTheDocument();
  });

  it("says “No records” and clears the filters", async () => {
    const asked = serveEvents([]);
    const { user, router } = await renderApp("/audit?group=keys&people=true");
    expect(await screen.findByText("No records")).toBeInTheDocument();
    expect(asked.at(-1)?.get("actor_kind")).toBe("user,anonymous");
    await user.click(screen.getAllByRole("button", { name: "Clear filters" })[0] as HTMLElement);
    await waitFor(() => expect(router.state.location.search).toEqual({}));
  });

  it("shows the cause and Retry", async () => {
    server.use(http.get("*/audit", () => problem(503, { kind: "unavailable" })));
    const { user } = await renderApp("/audit");
    const retry = await screen.findByRole("button", { name: "Retry events" });
    serveEvents([anEvent()]);
    await user.click(retry);
    expect(await screen.findByText("Access denied")).toBeInTheDocument();
  });

  it("pages to older events and back to the newest", async () => {
    const asked = serveEvents([anEvent()], 27);
    const { user, router } = await renderApp("/audit?limit=1");
    await user.click(await screen.findByRole("button", { name: "Older" }));
    await waitFor(() => expect(asked.at(-1)?.get("cursor")).toBe("27"));
    expect(router.state.location.search).toEqual({ limit: 1, before: 27 });
    await user.click(screen.getByRole("button", { name: "Newest" }));
    await waitFor(() => expect(router.state.location.search).toEqual({ limit: 1 }));
  });
});

describe("filters", () => {
  it("loads the types that contain the text, up to the limit", async () => {
    const asked = serveEvents([anEvent()]);
    const { user, router } = await renderApp("/audit");
    await user.type(await screen.findByRole("combobox", { name: "Filter by event type" }), "login");
    const limit = screen.getByRole("spinbutton", { name: "Limit" });
    await user.clear(limit);
    await user.type(limit, "10");
    await user.click(screen.getByRole("button", { name: "Load" }));
    await waitFor(() =>
      expect(asked.at(-1)?.get("event_type")).toBe(
        "login_failure,login_rate_limited,login_success",
      ),
    );
    expect(asked.at(-1)?.get("limit")).toBe("10");
    expect(router.state.location.search).toEqual({ event: "login", limit: 10 });
  });

  it("refuses a limit beyond 500 and a type that does not exist, at their fields", async () => {
    const asked = serveEvents([anEvent()]);
    const { user } = await renderApp("/audit");
    const type = await screen.findByRole("combobox", { name: "Filter by event type" });
    const before = asked.length;
    await user.type(type, "nonsense");
    const limit = screen.getByRole("spinbutton", { name: "Limit" });
    await user.clear(limit);
    await user.type(limit, "501{Enter}");
    await waitFor(() => expect(limit).toHaveAccessibleDescription("Must be 1 to 500"));
    expect(type).toBeInvalid();
    expect(asked).toHaveLength(before);
  });

  it("finds actor and user by address, and keeps all in the URL", async () => {
    const asked = serveEvents([anEvent()]);
    const { user, router } = await renderApp("/audit");
    await user.click(await screen.findByText("More filters"));
    await user.type(screen.getByRole("combobox", { name: "Who did it" }), "admin@example.com");
    await user.type(screen.getByRole("combobox", { name: "About the user" }), "ada@example.com");
    await user.type(screen.getByRole("combobox", { name: "About the key" }), "7");
    await user.type(screen.getByRole("textbox", { name: "Target" }), "/users");
    await user.selectOptions(screen.getByRole("combobox", { name: "Result" }), "failure");
    await user.click(screen.getByRole("button", { name: "Load" }));
    const filter = { actor: "user:1", user: 2, key: 7, target: "/users", result: "failure" };
    await waitFor(() => expect(router.state.location.search).toEqual(filter));
    await waitFor(() => expect(asked.at(-1)?.get("actor")).toBe("user:1"));
    expect(asked.at(-1)?.get("user_id")).toBe("2");
    expect(asked.at(-1)?.get("credential_id")).toBe("7");
    expect(screen.getByRole("combobox", { name: "Who did it" })).toHaveValue("admin@example.com");
    expect(screen.getByText("More filters (5 set)")).toBeInTheDocument();
  });

  it("says at the field that nobody has an address", async () => {
    serveEvents([anEvent()]);
    const { user } = await renderApp("/audit");
    await user.click(await screen.findByText("More filters"));
    const field = screen.getByRole("combobox", { name: "About the user" });
    await user.type(field, "nobody@example.com{Enter}");
    await waitFor(() => expect(field).toBeInvalid());
  });

  it("finds an address on the server that is beyond the names of the page", async () => {
    const asked = serveEvents([anEvent()]);
    server.use(
      http.get("*/users", ({ request }) => {
        const search = new URL(request.url).searchParams;
        return search.get("q") === "zoe@example.com"
          ? page([aUser({ id: 4711, email: "zoe@example.com" })])
          : page([aUser()], 5000);
      }),
    );
    const { user } = await renderApp("/audit");
    await user.click(await screen.findByText("More filters"));
    await user.type(
      screen.getByRole("combobox", { name: "About the user" }),
      "zoe@example.com{Enter}",
    );
    await waitFor(() => expect(asked.at(-1)?.get("user_id")).toBe("4711"));
  });

  it("shows refusals after one click", async () => {
    const asked = serveEvents([anEvent()]);
    const { user } = await renderApp("/audit");
    await user.click(await screen.findByRole("radio", { name: "Refusals" }));
    await waitFor(() => expect(asked.at(-1)?.get("group")).toBe("access"));
  });

  it("folds machine traffic away", async () => {
    const asked = serveEvents([anEvent()]);
    const { user, router } = await renderApp("/audit");
    await user.click(await screen.findByRole("checkbox", { name: "Fold away machine traffic" }));
    await waitFor(() => expect(asked.at(-1)?.get("actor_kind")).toBe("user,anonymous"));
    expect(router.state.location.search).toEqual({ people: true });
  });

  it("Load shows fresh data with the same filter", async () => {
    serveEvents([anEvent()]);
    const { user } = await renderApp("/audit");
    await screen.findByText("Access denied");
    serveEvents([revoked, anEvent()]);
    await user.click(screen.getByRole("button", { name: "Load" }));
    expect(await screen.findByText("Key revoked")).toBeInTheDocument();
  });
});

it("knows the event types in words", () => {
  expect(EVENT_TYPES).toContain("api_key_revoked");
  expect(EVENT_TYPES).toHaveLength(33);
});
