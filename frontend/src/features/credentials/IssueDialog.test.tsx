import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
// Loaded on demand otherwise, which may take longer than a test waits.
import "@/features/credentials/KeyDialog";
import { aCredential, aUser } from "@/test/fixtures";
import { done, record, serveKeys } from "@/test/keys";
import { renderApp } from "@/test/render";
import { page, problem, server } from "@/test/server";

const SECRET = "pdk_aaaaaaaaaa_bbbbbbbbbb";
const ada = aUser();
const backend = {
  url: "http://ollama",
  reachable: true,
  present: true,
  digest: null,
  size_bytes: null,
  loaded: false,
  loaded_until: null,
  vram_bytes: null,
};

function serve({ models = ["all-minilm:latest", "qwen3:8b"] } = {}) {
  serveKeys();
  server.use(
    http.get("*/users", ({ request }) => {
      const q = new URL(request.url).searchParams.get("q") ?? "";
      return page([ada].filter(({ email }) => email.includes(q)));
    }),
    http.get("*/users/2", () => HttpResponse.json(ada)),
    http.get("*/models", () =>
      HttpResponse.json({
        backends: [],
        models: models.map((name) => ({
          model: name,
          name,
          managed_by: [],
          pull: null,
          backends: [backend],
        })),
      }),
    ),
  );
  const issued = { credential_id: 9, plaintext: SECRET, expires_at: null, hints: [] };
  return record("post", "*/credentials", () => HttpResponse.json(issued, { status: 201 }));
}

async function issue(path = "/keys?dialog=issue") {
  const app = await renderApp(path);
  await app.user.click(await screen.findByRole("combobox", { name: "Owner" }));
  await app.user.paste("ada@example.com");
  await app.user.click(screen.getByRole("textbox", { name: "Label" }));
  await app.user.paste("Nightly report");
  await app.user.click(screen.getByRole("button", { name: "Issue" }));
  return app;
}

describe("issuing a key", () => {
  it("gives it the default scopes and the shortest expiry unless told otherwise", async () => {
    const bodies = serve();
    await issue();
    expect(await screen.findByText(SECRET)).toBeInTheDocument();
    const [body] = bodies as [Record<string, unknown>];
    expect(body).toMatchObject({
      user_id: 2,
      label: "Nightly report",
      scopes: ["chat", "generate", "embed", "models:read"],
      models: null,
    });
    const days = (Date.parse(String(body.expires_at)) - Date.now()) / 86_400_000;
    expect(days).toBeCloseTo(7, 2);
  });

  it("can be without an expiry and with fewer scopes and models", async () => {
    const bodies = serve();
    const { user } = await renderApp("/keys?dialog=issue&owner=2");
    const dialog = within(await screen.findByRole("dialog", { name: "Issue a key" }));
    await user.selectOptions(dialog.getByRole("combobox", { name: "Expires" }), "Never");
    await user.click(dialog.getByRole("checkbox", { name: "generate" }));
    await user.click(dialog.getByText("Models and limits"));
    await user.click(dialog.getByRole("radio", { name: "Only these models" }));
    await user.click(dialog.getByRole("checkbox", { name: "qwen3:8b" }));
    await user.click(dialog.getByRole("button", { name: "Issue" }));
    await screen.findByText(SECRET);
    expect(bodies).toEqual([
      expect.objectContaining({
        label: null,
        expires_at: null,
        scopes: ["chat", "embed", "models:read"],
        models: ["qwen3:8b"],
      }),
    ]);
  });

  it("asks for an owner and a scope before it calls the server", async () => {
    const bodies = serve();
    const { user } = await renderApp("/keys?dialog=issue");
    const owner = await screen.findByRole("combobox", { name: "Owner" });
    for (const scope of ["chat", "generate", "embed", "models:read"]) {
      await user.click(screen.getByRole("checkbox", { name: scope }));
    }
    await user.click(screen.getByRole("button", { name: "Issue" }));
    expect(owner).toBeInvalid();
    expect(screen.getByText("Choose at least one scope")).toBeInTheDocument();
    expect(bodies).toEqual([]);
  });

  it("says at the field that no user has the address", async () => {
    const bodies = serve();
    const { user } = await renderApp("/keys?dialog=issue");
    const owner = await screen.findByRole("combobox", { name: "Owner" });
    await user.click(owner);
    await user.paste("nobody@example.com");
    await user.keyboard("{Enter}");
    await waitFor(() => expect(owner).toBeInvalid());
    expect(owner).toHaveAccessibleDescription(/No user has this address/);
    expect(bodies).toEqual([]);
  });

  it("shows why the server refused, and keeps the form", async () => {
    serve();
    record("post", "*/credentials", () => problem(409, { kind: "conflict", title: "Too many" }));
    await issue();
    expect(await screen.findByRole("alert")).toHaveTextContent("Too many");
    expect(screen.getByRole("textbox", { name: "Label" })).toHaveValue("Nightly report");
  });
});

describe("the one-time secret", () => {
  it("closes by Done, and Done needs a tick or a copy", async () => {
    serve();
    const { user, router } = await issue();
    const dialog = await screen.findByRole("dialog", { name: "Key for ada@example.com issued" });
    expect(within(dialog).getByText("One-time secret")).toBeInTheDocument();
    const done = within(dialog).getByRole("button", { name: "Done" });
    expect(done).toBeDisabled();
    await user.click(within(dialog).getByRole("checkbox", { name: "I have stored the key" }));
    await user.click(done);
    await waitFor(() => expect(screen.queryByRole("dialog")).not.toBeInTheDocument());
    expect(router.state.location.search).toEqual({});
  });

  it("enables Done after a snippet was copied", async () => {
    serve();
    const { user } = await issue();
    await user.click(await screen.findByRole("button", { name: "Copy the example for curl" }));
    await waitFor(() => expect(screen.getByRole("button", { name: "Done" })).toBeEnabled());
    expect(await navigator.clipboard.readText()).toContain(SECRET);
  });

  it("fills in this server, the key and a model for chats", async () => {
    serve();
    const { user } = await issue();
    const dialog = within(await screen.findByRole("dialog"));
    await dialog.findByRole("combobox", { name: "Model in the examples" });
    expect(dialog.getByText(/^curl -s/)).toHaveTextContent(
      `curl -s http://paddock.test/api/chat \\ -H 'Authorization: Bearer ${SECRET}'`,
    );
    expect(dialog.getByText(/^curl -s/)).toHaveTextContent('"model":"qwen3:8b"');
    await user.click(dialog.getByRole("radio", { name: "Kubernetes" }));
    expect(dialog.getByText(/^kubectl create secret/)).toHaveTextContent(
      "kubectl create secret generic nightly-report-apikey",
    );
  });

  it("says if no model can be used", async () => {
    serve({ models: [] });
    await issue();
    expect(await screen.findByText(/No backend has a model/)).toBeInTheDocument();
  });

  it("is nowhere after Done: not on the page, in a cache, the URL or storage", async () => {
    serve();
    const { user, router, queryClient } = await issue();
    await screen.findByText(SECRET);
    const caches = () =>
      JSON.stringify([
        queryClient
          .getQueryCache()
          .getAll()
          .map(({ state }) => state),
        queryClient
          .getMutationCache()
          .getAll()
          .map(({ state }) => state),
        router.state.location,
        { ...localStorage },
        { ...sessionStorage },
      ]);
    expect(caches()).not.toContain(SECRET);
    await user.click(screen.getByRole("checkbox", { name: "I have stored the key" }));
    await user.click(screen.getByRole("button", { name: "Done" }));
    await waitFor(() => expect(screen.queryByText(SECRET)).not.toBeInTheDocument());
    expect(document.documentElement.innerHTML).not.toContain(SECRET);
    expect(caches()).not.toContain(SECRET);
  });

  it("is gone after Back, and Forward begins anew", async () => {
    serve();
    const { user, router } = await renderApp("/keys");
    await user.click(await screen.findByRole("button", { name: "Issue a key" }));
    await user.click(await screen.findByRole("combobox", { name: "Owner" }));
    await user.paste("ada@example.com");
    await user.click(screen.getByRole("button", { name: "Issue" }));
    await screen.findByText(SECRET);
    router.history.back();
    await waitFor(() => expect(screen.queryByRole("dialog")).not.toBeInTheDocument());
    router.history.forward();
    expect(await screen.findByRole("combobox", { name: "Owner" })).toHaveValue("");
    expect(screen.queryByText(SECRET)).not.toBeInTheDocument();
  });
});

describe("the credentials of the selected user", () => {
  it("issues a key with a label, and shows it once", async () => {
    const bodies = serve();
    const { user } = await renderApp("/users?selected=2");
    const panel = within(await screen.findByRole("region", { name: "Credentials" }));
    expect(await panel.findByText("No credentials")).toBeInTheDocument();
    await user.type(panel.getByRole("textbox", { name: "Label" }), "ci");
    await user.click(panel.getByRole("button", { name: "Issue" }));
    expect(await screen.findByText("One-time secret")).toBeInTheDocument();
    expect(bodies).toEqual([expect.objectContaining({ user_id: 2, label: "ci" })]);
    await user.click(screen.getByRole("checkbox", { name: "I have stored the key" }));
    await user.click(screen.getByRole("button", { name: "Done" }));
    await waitFor(() => expect(screen.queryByText(SECRET)).not.toBeInTheDocument());
    expect(panel.getByRole("textbox", { name: "Label" })).toHaveValue("");
  });

  it("ends the old secret of a rotation from the row", async () => {
    serve();
    serveKeys(aCredential({ state: "retiring" }));
    const bodies = record("post", "*/credentials/7/end-grace", done);
    const { user } = await renderApp("/users?selected=2");
    await user.click(await screen.findByRole("button", { name: "End old secret ci" }));
    await user.click(await screen.findByRole("button", { name: "End the old secret" }));
    await waitFor(() => expect(bodies).toHaveLength(1));
  });

  it("lists label, id and status, and revokes from the row", async () => {
    serve();
    const lists = serveKeys(aCredential(), aCredential({ id: 8, label: "old", state: "revoked" }));
    const bodies = record(
      "post",
      "*/credentials/7/revoke",
      () => new HttpResponse(null, { status: 204 }),
    );
    const { user } = await renderApp("/users?selected=2");
    const row = (await screen.findByText("old")).closest("tr") as HTMLElement;
    expect(row).toHaveTextContent("Revoked");
    expect(within(row).queryByRole("button", { name: "Revoke old" })).not.toBeInTheDocument();
    expect(lists.at(-1)?.get("user_id")).toBe("2");
    await user.click(screen.getByRole("button", { name: "Revoke ci" }));
    await user.click(await screen.findByRole("button", { name: "Revoke key" }));
    expect(await screen.findByText("Revoked ci")).toBeInTheDocument();
    expect(bodies).toHaveLength(1);
  });
});
