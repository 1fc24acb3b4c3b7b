import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { periodOf } from "@/features/usage/period";
import type { UsageRow } from "@/features/usage/queries";
import { saveFile } from "@/lib/download";
import { aProfile, aUser } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, problem, server } from "@/test/server";

vi.mock("@/lib/download", () => ({ saveFile: vi.fn() }));

const SMOL = "registry.ollama.ai/library/smollm2:135m";
const yesterday = periodOf({ range: "yesterday" }, Date.now());

function row(parts: Partial<UsageRow>): UsageRow {
  return {
    requests: 1,
    failed: 0,
    prompt_tokens: 10,
    cached_prompt_tokens: 0,
    completion_tokens: 5,
    estimated: 0,
    model: SMOL,
    ...parts,
  };
}

/** Answers with rows for what they are grouped by. Returns the parameters of each request. */
function serveUsage(byGroups: Record<string, UsageRow[]>) {
  const asked: URLSearchParams[] = [];
  server.use(
    http.get("*/usage", ({ request }) => {
      const search = new URL(request.url).searchParams;
      asked.push(search);
      return page(byGroups[search.get("group_by") ?? ""] ?? []);
    }),
  );
  return asked;
}

beforeEach(() => {
  server.use(
    http.get("*/users", () => page([aUser(), aUser({ id: 3, email: "bob@example.com" })])),
    http.get("*/credentials", () => page([{ id: 7, label: "ci", user_id: 2 }])),
  );
});

const TWO_USERS = {
  "user,model": [
    row({ user_id: 2, prompt_tokens: 90, completion_tokens: 10 }),
    row({ user_id: 3, prompt_tokens: 200, completion_tokens: 100, requests: 4, failed: 1 }),
  ],
};

function names(table: HTMLElement): string[] {
  return within(table)
    .getAllByRole("row")
    .slice(1)
    .map((each) => within(each).getAllByRole("cell")[0]?.textContent ?? "");
}

describe("usage", () => {
  it("answers who used the most tokens yesterday after one click", async () => {
    const asked = serveUsage(TWO_USERS);
    const { user, router } = await renderApp("/usage");
    await user.click(await screen.findByRole("radio", { name: "Yesterday" }));
    const table = await screen.findByRole("table", { name: "usage by user" });
    await waitFor(() => expect(names(table)).toEqual(["bob@example.com", "ada@example.com"]));
    expect(within(table).getByText("75%")).toBeInTheDocument();
    expect(router.state.location.search).toEqual({ range: "yesterday" });
    const last = asked.filter((search) => search.get("group_by") === "user,model").at(-1);
    expect(last?.get("from")).toBe(yesterday.from);
    expect(last?.get("to")).toBe(yesterday.to);
  });

  it("adds up every page of totals", async () => {
    server.use(
      http.get("*/usage", ({ request }) => {
        const search = new URL(request.url).searchParams;
        if (search.get("group_by") !== "user,model") return page<UsageRow>([]);
        const rows = TWO_USERS["user,model"];
        return page(search.get("offset") === "0" ? rows.slice(0, 1) : rows.slice(1), 2);
      }),
    );
    await renderApp("/usage");
    const table = await screen.findByRole("table", { name: "usage by user" });
    expect(names(table)).toHaveLength(2);
  });

  it("sorts by a column and keeps the sort in the URL", async () => {
    serveUsage(TWO_USERS);
    const { user, router } = await renderApp("/usage");
    const table = await screen.findByRole("table", { name: "usage by user" });
    await user.click(within(table).getByRole("button", { name: "User" }));
    await waitFor(() => expect(names(table)).toEqual(["ada@example.com", "bob@example.com"]));
    await user.click(within(table).getByRole("button", { name: "Requests" }));
    await waitFor(() => expect(names(table)[0]).toBe("bob@example.com"));
    expect(router.state.location.search).toEqual({ sort: "-requests" });
    expect(within(table).getByRole("columnheader", { name: "Requests" })).toHaveAttribute(
      "aria-sort",
      "descending",
    );
  });

  it("a row opens the keys of its user", async () => {
    const asked = serveUsage({
      ...TWO_USERS,
      "user,key,model": [row({ user_id: 2, credential_id: 7 }), row({ user_id: 2 })],
    });
    const { user } = await renderApp("/usage");
    await user.click(await screen.findByRole("button", { name: "ada@example.com" }));
    const table = await screen.findByRole("table", { name: "usage by key" });
    expect(within(table).getByRole("button", { name: "ci" })).toBeInTheDocument();
    expect(within(table).getByText("Signed in, without a key")).toBeInTheDocument();
    expect(asked.at(-1)?.get("user_id")).toBe("2");
    await user.click(
      screen.getByRole("button", { name: "Remove the filter User: ada@example.com" }),
    );
    await waitFor(() => expect(asked.at(-1)?.get("user_id")).toBeNull());
  });

  it("draws tokens by day, with the numbers behind", async () => {
    const { from } = yesterday;
    serveUsage({ ...TWO_USERS, "day,model": [row({ day: from, prompt_tokens: 1000 })] });
    const { user, router } = await renderApp("/usage");
    const picture = await screen.findByRole("img", { name: /The largest bar is .* 1,005 tokens/ });
    expect(picture.querySelectorAll("title")).toHaveLength(7);
    await user.click(screen.getByText("Show the numbers"));
    const table = screen.getByRole("table", { name: "usage over time" });
    const day = within(table).getByText("1,005").closest("tr") as HTMLElement;
    await user.click(within(day).getByRole("button"));
    await waitFor(() =>
      expect(router.state.location.search).toEqual({ range: "custom", from, through: from }),
    );
  });

  it("draws one day by hour", async () => {
    serveUsage({
      ...TWO_USERS,
      "hour,model": [row({ hour: `${yesterday.from}T09:00:00.000000Z`, prompt_tokens: 1000 })],
    });
    await renderApp("/usage?range=yesterday");
    expect(await screen.findByRole("region", { name: "Tokens by hour" })).toBeInTheDocument();
    expect(await screen.findByRole("img", { name: /largest bar is 09:00/ })).toBeInTheDocument();
  });

  it("saves the table as CSV", async () => {
    serveUsage(TWO_USERS);
    const { user } = await renderApp("/usage?range=yesterday");
    await screen.findByRole("table", { name: "usage by user" });
    await user.click(screen.getByRole("button", { name: "Download CSV" }));
    const [content, name] = vi.mocked(saveFile).mock.calls[0] ?? [];
    expect(name).toBe(`paddock-usage-by-user-${yesterday.from}-to-${yesterday.from}.csv`);
    const lines = (await content?.text())?.split("\r\n");
    expect(lines?.[0]).toMatch(/^user_id,user,requests,failed,prompt_tokens/);
    expect(lines?.[1]).toBe("3,bob@example.com,4,1,200,0,100,0");
  });

  it("pages through ten thousand rows", async () => {
    const rows = Array.from({ length: 10_000 }, (_, id) => row({ user_id: id + 10 }));
    serveUsage({ "user,model": rows });
    const { user } = await renderApp("/usage");
    expect(await screen.findByText("1–50 of 10,000")).toBeInTheDocument();
    await user.click(screen.getByText("Next"));
    expect(await screen.findByText("51–100 of 10,000")).toBeInTheDocument();
  });

  it("says what to do if nothing was used", async () => {
    serveUsage({});
    await renderApp("/usage");
    await waitFor(() => expect(screen.getAllByText("No usage in this range")).toHaveLength(2));
  });

  it("shows the cause and Retry", async () => {
    server.use(
      http.get("*/usage", () => problem(500, { kind: "internal", detail: "no database" })),
    );
    const { user } = await renderApp("/usage");
    const retry = await screen.findByRole("button", { name: "Retry usage by user" });
    serveUsage(TWO_USERS);
    await user.click(retry);
    expect(await screen.findByRole("table", { name: "usage by user" })).toBeInTheDocument();
  });
});

describe("my usage", () => {
  const me = aProfile({ id: 2, email: "ada@example.com", roles: ["user"] });

  function serveLimits(parts: object) {
    const none = {
      requests_per_minute: null,
      tokens_per_minute: null,
      tokens_per_day: null,
      tokens_per_month: null,
      max_concurrent: null,
    };
    server.use(
      http.get("*/me/usage", () =>
        HttpResponse.json({ limits: { user: { ...none, ...parts }, key: null } }),
      ),
    );
  }

  it("shows what is left of each limit and when it is full again", async () => {
    serveUsage({});
    const resets_at = new Date(Date.now() + 2 * 3_600_000 + 30_000).toISOString();
    serveLimits({
      tokens_per_day: {
        limit: 1000,
        used: 300,
        reserved: 100,
        left: 600,
        resets_at,
        is_enforced: true,
      },
      max_concurrent: { limit: 4, in_flight: 1, left: 3, is_enforced: true },
    });
    await renderApp("/my-usage", { as: me });
    const limits = await screen.findByRole("region", { name: "What is left" });
    expect(await within(limits).findByText("600 of 1,000 left")).toBeInTheDocument();
    expect(within(limits).getByText("full again in 2 hours")).toBeInTheDocument();
    expect(within(limits).getByText("3 of 4 left")).toBeInTheDocument();
    expect(within(limits).getByRole("meter", { name: "Tokens today (UTC)" })).toHaveAttribute(
      "value",
      "600",
    );
  });

  it("shows the own usage by key, and asks for no other", async () => {
    const asked = serveUsage({ "user,key,model": [row({ user_id: 2, credential_id: 7 })] });
    serveLimits({});
    await renderApp("/my-usage", { as: me });
    const table = await screen.findByRole("table", { name: "usage by key" });
    expect(await within(table).findByText("ci")).toBeInTheDocument();
    expect(asked.every((search) => search.get("user_id") === "2")).toBe(true);
    expect(screen.getByText("No limit applies to you.")).toBeInTheDocument();
    expect(screen.queryByRole("radio", { name: "User" })).not.toBeInTheDocument();
  });
});
