import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it } from "vitest";
import {
  aModel,
  aPull,
  ONE,
  onBackend,
  serveEvents,
  serveModels,
  servePulls,
  TWO,
} from "@/test/models";
import { renderApp } from "@/test/render";
import { problem, server } from "@/test/server";

const OWNER = { cluster: "c", namespace: "team", name: "llama", uid: "u" };

const rowOf = (text: string) => within(screen.getByText(text).closest("tr") as HTMLElement);

beforeEach(() => {
  serveModels([aModel("smollm2:135m")]);
  servePulls();
});

describe("models on the backends", () => {
  it("show per backend what is present, in memory and different", async () => {
    serveModels([
      aModel("smollm2:135m", {
        backends: [
          onBackend(ONE, { loaded: true, vram_bytes: 128_000_000 }),
          onBackend(TWO, { digest: "sha256:ccccccccccccdddd" }),
        ],
      }),
      aModel("phi4:latest", {
        backends: [onBackend(ONE), onBackend(TWO, { present: false, digest: null })],
      }),
    ]);
    await renderApp("/models");
    await screen.findByText("smollm2:135m");
    const smollm = rowOf("smollm2:135m");
    expect(smollm.getByText("In memory, 128 MB on the GPU")).toBeInTheDocument();
    expect(smollm.getByText("Versions differ")).toBeInTheDocument();
    expect(smollm.getByText("cccccccccccc")).toBeInTheDocument();
    expect(rowOf("phi4:latest").getByText("Missing")).toBeInTheDocument();
    expect(rowOf("phi4:latest").getByText("Not everywhere")).toBeInTheDocument();
    expect(screen.getByRole("columnheader", { name: "ollama-2:11434" })).toBeInTheDocument();
  });

  it("say which backend does not answer, and why", async () => {
    serveModels(
      [aModel("smollm2:135m", { backends: [onBackend(ONE), onBackend(TWO, { present: null })] })],
      [{}, { reachable: false, error: "Connection refused." }],
    );
    await renderApp("/models");
    expect(
      await screen.findByText("The backend ollama-2:11434 does not answer"),
    ).toBeInTheDocument();
    expect(screen.getByText(/Connection refused/)).toBeInTheDocument();
    expect(rowOf("smollm2:135m").getByText("Unknown")).toBeInTheDocument();
    expect(rowOf("smollm2:135m").queryByText("Not everywhere")).not.toBeInTheDocument();
  });

  it("are searched and filtered, kept in the URL", async () => {
    serveModels([
      aModel("smollm2:135m"),
      aModel("llama3.2:1b", { backends: [onBackend(ONE, { loaded: true })] }),
    ]);
    const { user, router } = await renderApp("/models?show=loaded");
    expect(await screen.findByText("llama3.2:1b")).toBeInTheDocument();
    expect(screen.queryByText("smollm2:135m")).not.toBeInTheDocument();
    await user.selectOptions(screen.getByRole("combobox", { name: "Show" }), "All models");
    await user.type(screen.getByRole("textbox", { name: "Search models" }), "SMOL");
    await waitFor(() => expect(router.state.location.search).toEqual({ q: "SMOL" }));
    expect(screen.getByText("smollm2:135m")).toBeInTheDocument();
    expect(screen.queryByText("llama3.2:1b")).not.toBeInTheDocument();
  });

  it("tell what to do if there are none", async () => {
    serveModels([]);
    await renderApp("/models");
    expect(await screen.findByText("No models")).toBeInTheDocument();
    expect(await screen.findByText("No pulls yet")).toBeInTheDocument();
  });

  it("show the cause, the request id and Retry", async () => {
    server.use(http.get("*/models", () => problem(500, { kind: "internal", title: "Defect" })));
    const { user } = await renderApp("/models");
    expect(await screen.findByText("Defect")).toBeInTheDocument();
    expect(screen.getByText("req-1")).toBeInTheDocument();
    serveModels([aModel("smollm2:135m")]);
    await user.click(screen.getByRole("button", { name: "Retry models" }));
    expect(await screen.findByText("smollm2:135m")).toBeInTheDocument();
  });
});

describe("a model", () => {
  it("is deleted after its name was typed", async () => {
    let deleted: unknown;
    server.use(
      http.delete("*/models/:name", ({ params }) => {
        deleted = params.name;
        return new HttpResponse(null, { status: 204 });
      }),
    );
    const { user, router } = await renderApp("/models");
    await user.click(await screen.findByRole("button", { name: "Details smollm2:135m" }));
    await user.click(await screen.findByRole("button", { name: "Delete" }));
    const dialog = await screen.findByRole("dialog", { name: "Delete smollm2:135m?" });
    await user.click(within(dialog).getByRole("button", { name: "Delete model" }));
    expect(deleted).toBeUndefined();
    await user.type(within(dialog).getByRole("textbox"), "smollm2:135m");
    await user.click(within(dialog).getByRole("button", { name: "Delete model" }));
    expect(await screen.findByText("smollm2:135m deleted")).toBeInTheDocument();
    expect(decodeURIComponent(String(deleted))).toBe("registry.ollama.ai/library/smollm2:135m");
    await waitFor(() => expect(router.state.location.search).toEqual({}));
  });

  it("that Kubernetes manages cannot be deleted, and says how to change it", async () => {
    serveModels([aModel("llama3.2:1b", { managed_by: [OWNER] })]);
    await renderApp("/models?selected=registry.ollama.ai/library/llama3.2:1b");
    const dialog = await screen.findByRole("dialog", { name: "llama3.2:1b" });
    expect(within(dialog).getByText("kubectl -n team edit ollamamodel llama")).toBeInTheDocument();
    expect(within(dialog).queryByRole("button", { name: "Delete" })).not.toBeInTheDocument();
  });
});

describe("a pull", () => {
  it("is started in a dialog that has an address", async () => {
    let body: unknown;
    server.use(
      http.post("*/models/pull", async ({ request }) => {
        body = await request.json();
        servePulls(aPull({ state: "queued" }));
        return HttpResponse.json(aPull({ state: "queued" }), { status: 202 });
      }),
    );
    const { user, router } = await renderApp("/models?open=pull");
    const dialog = await screen.findByRole("dialog", { name: "Pull a model" });
    await user.type(within(dialog).getByRole("textbox", { name: "Model" }), "phi4{Enter}");
    expect(await screen.findByText("Pull of phi4:latest started")).toBeInTheDocument();
    expect(body).toEqual({ model: "phi4" });
    await waitFor(() => expect(router.state.location.search).toEqual({}));
    expect(await screen.findByText("Waiting")).toBeInTheDocument();
  });

  it("that the server refuses shows the rule at the field", async () => {
    const errors = [{ pointer: "/model", detail: "names a registry that is not allowed" }];
    server.use(http.post("*/models/pull", () => problem(422, { kind: "invalid", errors })));
    const { user } = await renderApp("/models?open=pull");
    const field = await screen.findByRole("textbox", { name: "Model" });
    await user.type(field, "evil.example/x{Enter}");
    await waitFor(() =>
      expect(field).toHaveAccessibleDescription(/^Names a registry that is not allowed/),
    );
  });

  it("shows its progress as it happens, with speed and time left, until it ends", async () => {
    servePulls(aPull());
    const events = serveEvents(1);
    await renderApp("/models");
    expect(await screen.findByText("41 MB of 100 MB")).toBeInTheDocument();
    expect(screen.getByText("5.9 MB/s")).toBeInTheDocument();
    expect(screen.getByText("about 10 seconds left")).toBeInTheDocument();
    await events.write("progress", aPull({ percent: 73 }));
    const bar = screen.getByRole("progressbar", { name: "Pull of phi4:latest" });
    await waitFor(() => expect(bar).toHaveAttribute("value", "73"));
    servePulls(aPull({ state: "succeeded", percent: 100 }));
    serveModels([aModel("phi4:latest")]);
    await events.write("end", aPull({ state: "succeeded", percent: 100 }));
    expect(await screen.findByText("Done")).toBeInTheDocument();
    expect(await screen.findByRole("button", { name: "Details phi4:latest" })).toBeInTheDocument();
    expect(events.opened()).toBe(1);
  });

  it("is followed again after its stream broke", async () => {
    servePulls(aPull());
    const events = serveEvents(1);
    await renderApp("/models");
    await events.write("progress", aPull({ percent: 50 }));
    await screen.findByText("50 %");
    events.breakOff();
    await waitFor(() => expect(events.opened()).toBe(2), { timeout: 4_000 });
    await events.write("progress", aPull({ percent: 60 }));
    expect(await screen.findByText("60 %")).toBeInTheDocument();
  });

  it("keeps connections free: two of several are followed by streams", async () => {
    const jobs = [4, 3, 2, 1];
    servePulls(...jobs.map((job) => aPull({ job, model: `registry.ollama.ai/library/m${job}:1` })));
    const events = jobs.map(serveEvents);
    await renderApp("/models");
    expect(await screen.findAllByRole("progressbar")).toHaveLength(4);
    await waitFor(() => expect(events.map(({ opened }) => opened())).toEqual([0, 0, 1, 1]));
  });

  it("is cancelled", async () => {
    servePulls(aPull({ state: "queued" }));
    server.use(
      http.delete("*/models/pull/1", () => {
        servePulls(aPull({ state: "cancelled" }));
        return new HttpResponse(null, { status: 204 });
      }),
    );
    const { user } = await renderApp("/models");
    await user.click(await screen.findByRole("button", { name: "Cancel phi4:latest, job 1" }));
    expect(await screen.findByText("Cancelled")).toBeInTheDocument();
  });

  it("that failed says why, who wanted it, and can be repeated", async () => {
    servePulls(aPull({ state: "failed", reason: "manifest not found", user_id: 7 }));
    let hasStarted = false;
    server.use(
      http.post("*/models/pull", () => {
        hasStarted = true;
        return HttpResponse.json(aPull({ job: 2, state: "queued" }), { status: 202 });
      }),
    );
    const { user } = await renderApp("/models");
    expect(await screen.findByText("manifest not found")).toBeInTheDocument();
    expect(screen.getByRole("link", { name: "by user 7" })).toHaveAttribute(
      "href",
      "/ui/users?selected=7",
    );
    await user.click(screen.getByRole("button", { name: "Pull again phi4:latest, job 1" }));
    await waitFor(() => expect(hasStarted).toBe(true));
  });
});
