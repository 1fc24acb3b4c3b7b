import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { saveFile } from "@/lib/download";
import { anEvent, revoked, serveChain, serveEvents, serveNames } from "@/test/audit";
import { renderApp } from "@/test/render";
import { server } from "@/test/server";

vi.mock("@/lib/download", () => ({ saveFile: vi.fn() }));

beforeEach(() => {
  serveChain();
  serveNames();
});

describe("detail", () => {
  it("shows the change before and after", async () => {
    const change = {
      before: { roles: ["user"], limits: { tokens_per_day: 10 } },
      after: { roles: ["admin", "user"], limits: {} },
    };
    serveEvents([anEvent({ event_type: "roles_changed", change })]);
    const { user, router } = await renderApp("/audit");
    await user.click(await screen.findByRole("button", { name: "Details of event 27" }));
    const dialog = await screen.findByRole("dialog", { name: "Roles changed" });
    const cells = within(dialog)
      .getAllByRole("row")
      .map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent));
    expect(cells).toContainEqual(["roles", "user", "admin, user"]);
    expect(cells).toContainEqual(["limits.tokens_per_day", "10", "none"]);
    expect(router.state.location.search).toEqual({ id: 27 });
  });

  it("opens a link to an event that is not in the list", async () => {
    serveEvents([revoked]);
    server.use(
      http.get("*/audit", ({ request }) => {
        const isOne = new URL(request.url).searchParams.get("cursor") === "28";
        return HttpResponse.json(isOne ? [anEvent()] : [revoked]);
      }),
    );
    await renderApp("/audit?id=27");
    expect(await screen.findByRole("dialog", { name: "Access denied" })).toBeInTheDocument();
  });

  it("says that a row does not exist", async () => {
    serveEvents([]);
    await renderApp("/audit?id=99");
    expect(await screen.findByText("Row 99 is not in the log")).toBeInTheDocument();
  });

  it("leads to the other events of the actor", async () => {
    const asked = serveEvents([anEvent()]);
    const { user, router } = await renderApp("/audit?group=access&id=27");
    await user.click(await screen.findByRole("button", { name: "By ada@example.com" }));
    await waitFor(() => expect(router.state.location.search).toEqual({ actor: "user:2" }));
    await waitFor(() => expect(asked.at(-1)?.get("actor")).toBe("user:2"));
    expect(screen.queryByRole("dialog")).not.toBeInTheDocument();
  });

  it("says how many events a row stands for", async () => {
    const since = "2026-11-30T10:03:12.000000Z";
    serveEvents([anEvent({ change: { before: {}, after: { times: 12, since } } })]);
    await renderApp("/audit?id=27");
    const dialog = await screen.findByRole("dialog", { name: "Access denied" });
    expect(within(dialog).getByText(/^12 events since/)).toBeInTheDocument();
  });
});

describe("chain", () => {
  it("shows how far the log is verified, and copies the head", async () => {
    serveEvents([]);
    const { user } = await renderApp("/audit");
    expect(await screen.findByText(/Verified up to row 30, just now/)).toBeInTheDocument();
    await user.click(screen.getByRole("button", { name: "Copy the head hash" }));
    expect(await navigator.clipboard.readText()).toBe(`30 ${"feedface".repeat(8)}`);
  });

  it("warns if the log was changed", async () => {
    serveEvents([]);
    serveChain({ state: "broken", defect: "row 12 does not match its hash" });
    await renderApp("/audit");
    const alert = await screen.findByRole("alert");
    expect(alert).toHaveTextContent("The log was changed");
    expect(alert).toHaveTextContent("row 12 does not match its hash");
    expect(screen.queryByText(/Verified up to/)).not.toBeInTheDocument();
  });
});

describe("export", () => {
  it.each(["CSV", "NDJSON"])("saves exactly the filter as %s", async (format) => {
    serveEvents([anEvent()]);
    let asked: URLSearchParams | undefined;
    server.use(
      http.get("*/audit/export", ({ request }) => {
        asked = new URL(request.url).searchParams;
        const headers = { "Content-Disposition": 'attachment; filename="paddock-audit.x"' };
        return HttpResponse.text("id\r\n", { headers });
      }),
    );
    const { user } = await renderApp("/audit?group=access&user=2&limit=5&before=90&id=27");
    await user.click(await screen.findByRole("button", { name: "Close" }));
    await user.click(screen.getByRole("button", { name: `Export ${format}` }));
    expect(await screen.findByText("Saved paddock-audit.x")).toBeInTheDocument();
    const expected = { group: "access", user_id: "2", format: format.toLowerCase() };
    expect(Object.fromEntries(asked ?? [])).toEqual(expected);
    expect(vi.mocked(saveFile).mock.lastCall?.[1]).toBe("paddock-audit.x");
  });
});
