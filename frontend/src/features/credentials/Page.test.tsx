import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
import { aCredential, aUser } from "@/test/fixtures";
import { serveKeys } from "@/test/keys";
import { renderApp } from "@/test/render";
import { problem, server } from "@/test/server";

const ci = aCredential();
const laptop = aCredential({
  id: 8,
  label: "laptop",
  models: ["registry.ollama.ai/library/qwen3:*", "team/a:*", "team/b:*"],
});

describe("all keys", () => {
  it("shows what each key may do, in words", async () => {
    serveKeys(ci, laptop);
    await renderApp("/keys");
    const table = await screen.findByRole("table", { name: "keys" });
    const row = within(table).getByText("laptop").closest("tr") as HTMLElement;
    expect(row).toHaveTextContent("these 3 models");
    expect(row).toHaveTextContent("chat, generate, embed, models:read");
    expect(row).toHaveTextContent("ada@example.com");
    const other = within(table).getByText("ci").closest("tr") as HTMLElement;
    expect(other).toHaveTextContent("every model, also future ones");
  });

  it("shows a key without a label", async () => {
    serveKeys(aCredential({ label: "" }));
    await renderApp("/keys");
    expect(await screen.findByText("no label")).toBeInTheDocument();
    expect(screen.getByRole("button", { name: "Open Key 7, without a label" })).toBeInTheDocument();
  });

  it("tells two keys with one label apart", async () => {
    serveKeys(ci, aCredential({ id: 8 }));
    await renderApp("/keys");
    expect(await screen.findByRole("button", { name: "Open ci (7)" })).toBeInTheDocument();
    expect(screen.getByRole("button", { name: "Open ci (8)" })).toBeInTheDocument();
  });

  it("leaves expired and revoked keys out until they are asked for", async () => {
    const lists = serveKeys(ci);
    const { user, router } = await renderApp("/keys");
    await screen.findByText("ci");
    expect(lists.at(-1)?.get("state")).toBe("active,retiring,staged");
    await user.click(screen.getByRole("button", { name: "Filters" }));
    await user.selectOptions(screen.getByRole("combobox", { name: "State" }), "All");
    await waitFor(() => expect(lists.at(-1)?.has("state")).toBe(false));
    expect(router.state.location.search).toEqual({ state: "all" });
  });

  it("searches on the server, keeps the search in the URL, and begins at the first page", async () => {
    const lists = serveKeys(ci, laptop);
    const { user, router } = await renderApp("/keys?page=2");
    await user.type(await screen.findByRole("textbox", { name: "Search keys" }), "lap");
    await waitFor(() => expect(screen.queryByText("ci")).not.toBeInTheDocument());
    expect(router.state.location.search).toEqual({ q: "lap" });
    expect(lists.at(-1)?.get("offset")).toBe("0");
  });

  it("has ready filters for keys that expire soon and that were never used", async () => {
    const lists = serveKeys(ci);
    const { user, router } = await renderApp("/keys");
    await user.click(await screen.findByRole("button", { name: "Expiring within 7 days" }));
    await user.click(screen.getByRole("button", { name: "Never used" }));
    await waitFor(() => expect(lists.at(-1)?.get("never_used")).toBe("true"));
    const days = (Date.parse(lists.at(-1)?.get("expires_before") ?? "") - Date.now()) / 86_400_000;
    expect(days).toBeCloseTo(7, 2);
    expect(router.state.location.search).toEqual({ expires: "7d", used: "never" });
    expect(screen.getByRole("button", { name: "Never used" })).toBePressed();
  });

  it("sorts on the server by any column", async () => {
    const lists = serveKeys(ci);
    const { user } = await renderApp("/keys");
    await user.click(await screen.findByRole("button", { name: "Expires" }));
    await waitFor(() => expect(lists.at(-1)?.get("sort")).toBe("expires_at"));
    await user.click(screen.getByRole("button", { name: "Expires" }));
    await waitFor(() => expect(lists.at(-1)?.get("sort")).toBe("-expires_at"));
    expect(screen.getByRole("columnheader", { name: "Expires" })).toHaveAttribute(
      "aria-sort",
      "descending",
    );
  });

  it("opens a deep link with every filter", async () => {
    const lists = serveKeys(ci);
    server.use(http.get("*/users/2", () => HttpResponse.json(aUser())));
    await renderApp(
      "/keys?q=c&owner=2&state=expired&scope=embed&model=qwen&used=used&expires=30d&managed=api&sort=-label&page=3",
    );
    expect(await screen.findByText("Only keys of ada@example.com")).toBeInTheDocument();
    expect(screen.getByRole("combobox", { name: "State" })).toHaveValue("expired");
    expect(screen.getByRole("combobox", { name: "Scope" })).toHaveValue("embed");
    const asked = Object.fromEntries(lists.at(-1) ?? []);
    expect(asked).toMatchObject({
      q: "c",
      user_id: "2",
      state: "expired",
      scope: "embed",
      model: "qwen",
      never_used: "false",
      managed_by: "api",
      sort: "-label",
      offset: "100",
    });
  });

  it("clears all filters, but not the order", async () => {
    serveKeys(ci);
    const { user, router } = await renderApp("/keys?q=c&state=all&sort=label");
    await user.click(await screen.findByRole("button", { name: "Clear filters" }));
    await waitFor(() => expect(router.state.location.search).toEqual({ sort: "label" }));
  });

  it("says what to do if there are no keys, or none match", async () => {
    serveKeys();
    const { user } = await renderApp("/keys");
    expect(await screen.findByText("No keys")).toBeInTheDocument();
    await user.type(screen.getByRole("textbox", { name: "Search keys" }), "x{Enter}");
    expect(await screen.findByText("No key matches")).toBeInTheDocument();
  });

  it("shows the cause, the request id and Retry", async () => {
    server.use(http.get("*/credentials", () => problem(503, { kind: "unavailable" })));
    const { user } = await renderApp("/keys");
    const alert = await screen.findByRole("alert");
    expect(alert).toHaveTextContent("req-1");
    serveKeys(ci);
    await user.click(within(alert).getByRole("button", { name: "Retry keys" }));
    expect(await screen.findByText("ci")).toBeInTheDocument();
  });
});
