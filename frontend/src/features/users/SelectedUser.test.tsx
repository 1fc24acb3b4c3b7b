import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
import { aUser } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, problem, server } from "@/test/server";

/** Opens the page with `user` selected. Returns the bodies of the patches, which the user follows. */
async function openUser(user = aUser()) {
  const patches: unknown[] = [];
  let current = user;
  server.use(
    http.get("*/users", () => page([current])),
    http.get("*/users/2", () => HttpResponse.json(current)),
    http.get("*/models", () => HttpResponse.json({ backends: [], models: [] })),
    http.patch("*/users/2", async ({ request }) => {
      const patch = (await request.json()) as Partial<typeof user>;
      patches.push(patch);
      current = { ...current, ...patch };
      return HttpResponse.json(current);
    }),
  );
  const app = await renderApp("/users?selected=2");
  await screen.findByRole("region", { name: "User settings" });
  return { ...app, patches };
}

const managed = aUser({
  managed_by: { cluster: "c", namespace: "team-a", name: "ada", uid: "u" },
});

it("leads to the usage of the user and to the events about the user", async () => {
  await openUser();
  const links = ["Usage of this user", "Events about this user"].map((name) =>
    screen.getByRole("link", { name }).getAttribute("href"),
  );
  expect(links).toEqual(["/ui/usage?user=2&by=key", "/ui/audit?user=2"]);
});

describe("model access", () => {
  it("is said in words and changed in a form", async () => {
    const { user, patches } = await openUser();
    const panel = screen.getByRole("region", { name: "Model access" });
    expect(panel).toHaveTextContent("May use every model, also future ones.");
    await user.click(within(panel).getByRole("button", { name: "Change model access" }));
    await user.click(await within(panel).findByRole("radio", { name: "No model" }));
    await user.click(within(panel).getByRole("button", { name: "Save model access" }));
    expect(await screen.findByText("Model access updated")).toBeInTheDocument();
    expect(patches).toEqual([{ models: [] }]);
    await waitFor(() => expect(panel).toHaveTextContent("May use no model."));
  });

  it("shows which rule a pattern breaks", async () => {
    const { user } = await openUser();
    const errors = [{ pointer: "/models/0", detail: "must not contain a space" }];
    server.use(http.patch("*/users/2", () => problem(422, { kind: "invalid", errors })));
    await user.click(screen.getByRole("button", { name: "Change model access" }));
    await user.click(await screen.findByRole("radio", { name: "Only these models" }));
    await user.type(screen.getByRole("textbox", { name: "Models" }), "a b");
    await user.click(screen.getByRole("button", { name: "Save model access" }));
    expect(await screen.findByText("must not contain a space")).toBeInTheDocument();
  });
});

describe("limits", () => {
  it("are said in words and changed in a form", async () => {
    const { user, patches } = await openUser();
    const panel = screen.getByRole("region", { name: "Limits" });
    await user.click(within(panel).getByRole("button", { name: "Change limits" }));
    await user.type(within(panel).getByRole("textbox", { name: "Requests per minute" }), "120");
    await user.click(within(panel).getByRole("button", { name: "Save limits" }));
    expect(await screen.findByText("Limits updated")).toBeInTheDocument();
    expect(patches).toMatchObject([{ limits: { requests_per_minute: 120, max_concurrent: null } }]);
    await waitFor(() => expect(panel).toHaveTextContent("120 requests per minute"));
  });
});

describe("deletion", () => {
  it("needs the address, then deletes and closes the user", async () => {
    const { user, router } = await openUser();
    let isDeleted = false;
    server.use(
      http.delete("*/users/2", () => {
        isDeleted = true;
        return new HttpResponse(null, { status: 204 });
      }),
    );
    await user.click(screen.getByRole("button", { name: "Delete ada@example.com" }));
    const dialog = screen.getByRole("dialog", { name: "Delete ada@example.com?" });
    expect(within(dialog).getByRole("button", { name: "Cancel" })).toHaveFocus();
    await user.click(within(dialog).getByRole("button", { name: "Delete user" }));
    expect(isDeleted).toBe(false);
    await user.type(within(dialog).getByRole("textbox"), "ada@example.com");
    await user.click(within(dialog).getByRole("button", { name: "Delete user" }));
    expect(await screen.findByText("Deleted ada@example.com")).toBeInTheDocument();
    await waitFor(() => expect(router.state.location.search).toEqual({}));
  });

  it("shows in the dialog why it was refused", async () => {
    const { user } = await openUser();
    server.use(
      http.delete("*/users/2", () => problem(409, { kind: "last-admin", title: "Last admin" })),
    );
    await user.click(screen.getByRole("button", { name: "Delete ada@example.com" }));
    const dialog = screen.getByRole("dialog");
    await user.type(within(dialog).getByRole("textbox"), "ada@example.com{Enter}");
    expect(await within(dialog).findByRole("alert")).toHaveTextContent("Last admin");
  });
});

describe("a user that Kubernetes manages", () => {
  it("can only be disabled and enabled", async () => {
    const { user, patches } = await openUser(managed);
    expect(screen.getByRole("checkbox", { name: "admin" })).toBeDisabled();
    expect(screen.queryByRole("button", { name: /^(Change|Delete)/ })).not.toBeInTheDocument();
    await user.click(screen.getByRole("checkbox", { name: "Active" }));
    await user.click(screen.getByRole("button", { name: "Save settings" }));
    expect(await screen.findByText("User updated")).toBeInTheDocument();
    expect(patches).toEqual([{ is_active: false }]);
  });

  it("says why, and gives the command", async () => {
    await openUser(managed);
    expect(screen.getByText("Managed by Kubernetes")).toBeInTheDocument();
    expect(screen.getByText("kubectl -n team-a edit apiuser ada")).toBeInTheDocument();
  });
});
