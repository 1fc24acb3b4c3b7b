import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse } from "msw";
import { describe, expect, it } from "vitest";
// Loaded on demand otherwise, which may take longer than a test waits.
import "@/features/credentials/KeyDialog";
import { aCredential } from "@/test/fixtures";
import { done, record, serveKeys } from "@/test/keys";
import { renderApp } from "@/test/render";
import { problem } from "@/test/server";

const ci = aCredential();

describe("one key", () => {
  it("opens from its row and from a link", async () => {
    serveKeys(ci);
    const { user, router } = await renderApp("/keys");
    await user.click(await screen.findByRole("button", { name: "Open ci" }));
    expect(await screen.findByRole("dialog", { name: "ci" })).toBeInTheDocument();
    expect(router.state.location.search).toEqual({ key: 7 });
  });

  it("says that a linked key does not exist", async () => {
    serveKeys();
    await renderApp("/keys?key=99");
    expect(await screen.findByRole("alert")).toHaveTextContent("Not found");
  });

  it("sends only what was changed", async () => {
    serveKeys(ci);
    const bodies = record("patch", "*/credentials/7", () => HttpResponse.json(ci));
    const { user } = await renderApp("/keys?key=7");
    await user.click(await screen.findByRole("button", { name: "Edit" }));
    const label = screen.getByRole("textbox", { name: "Label" });
    await user.clear(label);
    await user.type(label, "build");
    await user.click(screen.getByRole("checkbox", { name: "generate" }));
    await user.click(screen.getByRole("button", { name: "Save settings" }));
    expect(await screen.findByText("Key updated")).toBeInTheDocument();
    expect(bodies).toEqual([{ label: "build", scopes: ["chat", "embed", "models:read"] }]);
  });

  it("shows the server's rule at the field", async () => {
    serveKeys(ci);
    const errors = [{ pointer: "/expires_at", detail: "must be in the future" }];
    record("patch", "*/credentials/7", () => problem(422, { kind: "invalid", errors }));
    const { user } = await renderApp("/keys?key=7");
    await user.click(await screen.findByRole("button", { name: "Edit" }));
    await user.click(screen.getByRole("button", { name: "Save settings" }));
    const expires = within(screen.getByRole("dialog")).getByRole("combobox", { name: "Expires" });
    await waitFor(() => expect(expires).toHaveAccessibleDescription("Must be in the future"));
    expect(expires).toHaveFocus();
    expect(screen.queryByRole("alert")).not.toBeInTheDocument();
  });

  it("revokes after a confirmation that names key and effect", async () => {
    serveKeys(ci);
    const bodies = record("post", "*/credentials/7/revoke", done);
    const { user } = await renderApp("/keys?key=7");
    await user.click(await screen.findByRole("button", { name: "Revoke" }));
    const dialog = await screen.findByRole("dialog", { name: "Revoke ci of ada@example.com?" });
    expect(dialog).toHaveTextContent("refused at once");
    expect(within(dialog).getByRole("button", { name: "Cancel" })).toHaveFocus();
    expect(bodies).toEqual([]);
    await user.click(within(dialog).getByRole("button", { name: "Revoke key" }));
    expect(await screen.findByText("Revoked ci")).toBeInTheDocument();
    expect(bodies).toHaveLength(1);
  });

  it("cannot be changed once it has ended", async () => {
    serveKeys(aCredential({ state: "revoked", revoked: true, versions: [] }));
    await renderApp("/keys?key=7");
    await screen.findByRole("dialog", { name: "ci" });
    for (const name of ["Edit", "Rotate", "Revoke"]) {
      expect(screen.queryByRole("button", { name })).not.toBeInTheDocument();
    }
  });
});

describe("a rotation", () => {
  const rotating = aCredential({
    state: "retiring",
    versions: [
      {
        prefix: "pdk_old",
        state: "retiring",
        issued_at: "2026-11-01T10:00:00Z",
        ends_at: new Date(Date.now() + 2 * 3_600_000 + 30_000).toISOString(),
      },
      {
        prefix: "pdk_new",
        state: "active",
        issued_at: "2026-11-02T10:00:00Z",
        ends_at: null,
      },
    ],
  });

  it("shows both secrets, and how long the old one still works", async () => {
    serveKeys(rotating);
    await renderApp("/keys?key=7");
    const secrets = await screen.findByRole("region", { name: "Secrets" });
    expect(within(secrets).getByText("pdk_old").closest("li")).toHaveTextContent("2 hr");
    expect(within(secrets).getByText("pdk_new")).toBeInTheDocument();
  });

  it("ends the old secret now", async () => {
    serveKeys(rotating);
    const bodies = record("post", "*/credentials/7/end-grace", done);
    const { user } = await renderApp("/keys?key=7");
    await user.click(await screen.findByRole("button", { name: "End the old one now" }));
    await user.click(await screen.findByRole("button", { name: "End the old secret" }));
    expect(await screen.findByText("Ended the old secret of ci")).toBeInTheDocument();
    expect(bodies).toHaveLength(1);
  });

  it("asks how long the old secret works, and shows the new one", async () => {
    serveKeys(ci);
    const issued = { credential_id: 7, plaintext: "pdk_new_secret", expires_at: null, hints: [] };
    const bodies = record("post", "*/credentials/7/rotate", () => HttpResponse.json(issued));
    const { user } = await renderApp("/keys?key=7");
    await user.click(await screen.findByRole("button", { name: "Rotate" }));
    const grace = await screen.findByRole("combobox", { name: "The old secret works for" });
    expect(grace).toHaveDisplayValue("1 day");
    await user.selectOptions(grace, "1 hour");
    await user.click(screen.getByRole("button", { name: "Rotate key" }));
    expect(await screen.findByText("pdk_new_secret")).toBeInTheDocument();
    expect(bodies).toEqual([{ grace_seconds: 3600 }]);
  });
});

describe("a key of Kubernetes", () => {
  const owner = { cluster: "c", namespace: "team-a", name: "bot", uid: "u" };

  it("says who decides, and how to change it there", async () => {
    serveKeys(aCredential({ managed_by: owner }));
    await renderApp("/keys?key=7");
    const dialog = await screen.findByRole("dialog", { name: "ci" });
    expect(dialog).toHaveTextContent("Managed by Kubernetes");
    expect(dialog).toHaveTextContent("kubectl -n team-a edit apikey bot");
    expect(screen.queryByRole("button", { name: "Rotate" })).not.toBeInTheDocument();
    expect(screen.queryByRole("button", { name: "Edit" })).not.toBeInTheDocument();
    expect(screen.getByRole("button", { name: "Revoke" })).toBeInTheDocument();
  });

  it("clears an override", async () => {
    serveKeys(
      aCredential({
        managed_by: owner,
        state: "revoked",
        revoked: true,
        overridden_at: "2026-11-02T10:00:00Z",
      }),
    );
    const bodies = record("post", "*/credentials/7/clear-override", done);
    const { user } = await renderApp("/keys?key=7");
    await user.click(await screen.findByRole("button", { name: "Clear override" }));
    const dialog = await screen.findByRole("dialog", { name: "Clear the override of ci?" });
    await user.click(within(dialog).getByRole("button", { name: "Clear override" }));
    expect(await screen.findByText("Cleared the override of ci")).toBeInTheDocument();
    expect(bodies).toHaveLength(1);
  });
});
