import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it, vi } from "vitest";
import { ManifestButton } from "@/components/ManifestButton";
import { renderPart } from "@/test/render";
import { problem, server } from "@/test/server";

const YAML = "apiVersion: paddock.dev/v1beta1\nkind: ApiUser\nmetadata:\n  name: ada\n";

/** Answers the export. Returns the parameters of each request. */
function serveManifests(yaml = YAML) {
  const asked: string[] = [];
  server.use(
    http.get("*/manifests/users", ({ request }) => {
      asked.push(new URL(request.url).search);
      return new HttpResponse(yaml, {
        headers: { "Content-Disposition": 'attachment; filename="users.yaml"' },
      });
    }),
  );
  return asked;
}

async function open() {
  const part = renderPart(
    <ManifestButton choice={{ kind: "users", id: 2 }} what="ada@example.com" />,
  );
  await part.user.click(screen.getByRole("button", { name: "Export as YAML" }));
  const dialog = await screen.findByRole("dialog", { name: "ada@example.com as YAML" });
  return { ...part, dialog: within(dialog) };
}

describe("export as YAML", () => {
  it("shows the objects, copies and saves them", async () => {
    const asked = serveManifests();
    const { user, dialog } = await open();
    expect(await dialog.findByText(/kind: ApiUser/)).toBeInTheDocument();
    expect(asked).toEqual(["?id=2"]);
    await user.click(dialog.getByRole("button", { name: "Copy YAML" }));
    expect(await navigator.clipboard.readText()).toBe(YAML);
    const saved = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(() => {});
    await user.click(dialog.getByRole("button", { name: "Download" }));
    expect((saved.mock.contexts[0] as HTMLAnchorElement).download).toBe("users.yaml");
  });

  it("names the namespace, and shows at the field what is wrong with it", async () => {
    const asked = serveManifests();
    const { user, dialog } = await open();
    const field = dialog.getByRole("textbox", { name: "Namespace" });
    await user.type(field, "team-a");
    await waitFor(() => expect(asked.at(-1)).toBe("?namespace=team-a&id=2"));
    const errors = [{ pointer: "?namespace", detail: "must be the name of a namespace" }];
    server.use(http.get("*/manifests/users", () => problem(422, { kind: "invalid", errors })));
    await user.type(field, "!");
    await waitFor(() => expect(field).toBeInvalid());
    expect(dialog.queryByRole("button", { name: "Download" })).not.toBeInTheDocument();
  });

  it("says that nothing is left to export", async () => {
    serveManifests("# Users of Paddock.\n");
    const { dialog } = await open();
    expect(await dialog.findByText(/^There is nothing to export/)).toBeInTheDocument();
    expect(dialog.queryByRole("button", { name: "Download" })).not.toBeInTheDocument();
  });
});
