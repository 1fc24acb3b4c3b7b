import { screen, waitFor, within } from "@testing-library/react";
import { http } from "msw";
import { describe, expect, it } from "vitest";
import { aProfile, aUser } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, server } from "@/test/server";

/** Opens the palette with its keys, on a page that needs no data. */
async function openPalette(as = aProfile()) {
  const app = await renderApp("/nothing/here", { as });
  await screen.findByText(`Signed in as ${as.email}`);
  await app.user.keyboard("{Control>}k{/Control}");
  const field = await screen.findByRole("combobox", { name: "Command palette" });
  return { ...app, field };
}

function selected() {
  return screen.getByRole("option", { selected: true });
}

describe("command palette", () => {
  // The first test of the file: the palette is still to be loaded.
  it("keeps the letters that are typed while it is loaded", async () => {
    server.use(http.get("*/users", () => page([])));
    const { user } = await renderApp("/nothing/here");
    await screen.findByText(/^Signed in as/);
    await user.keyboard("{Control>}k{/Control}us");
    expect(await screen.findByRole("combobox", { name: "Command palette" })).toHaveValue("us");
    await user.keyboard("ers");
    expect(screen.getByRole("combobox")).toHaveValue("users");
  });

  it("opens with its keys, takes the focus and closes with the same keys", async () => {
    const { field, user } = await openPalette();
    expect(field).toHaveFocus();
    await user.keyboard("{Control>}k{/Control}");
    expect(screen.queryByRole("combobox")).not.toBeInTheDocument();
  });

  it("opens a page by a few letters", async () => {
    server.use(http.get("*/users", () => page([])));
    const { router, user } = await openPalette();
    await user.keyboard("use");
    await waitFor(() => expect(selected()).toHaveTextContent("Users"));
    await user.keyboard("{Enter}");
    await waitFor(() => expect(router.state.location.pathname).toBe("/users"));
    expect(screen.queryByRole("combobox", { name: "Command palette" })).not.toBeInTheDocument();
  });

  it("finds users on the server and opens their settings", async () => {
    const asked: (string | null)[] = [];
    server.use(
      http.get("*/users", ({ request }) => {
        asked.push(new URL(request.url).searchParams.get("q"));
        return page([aUser()]);
      }),
      http.get("*/users/2", () => Response.json(aUser())),
    );
    const { router, user } = await openPalette();
    await user.keyboard("ada");
    const users = await screen.findByRole("group", { name: "Users" });
    // One request for what was typed in one go.
    expect(asked).toEqual(["ada"]);
    await user.click(within(users).getByRole("option", { name: "ada@example.com" }));
    await waitFor(() => expect(router.state.location.search).toEqual({ selected: 2 }));
  });

  it("moves with the arrows, and around the ends", async () => {
    const { user } = await openPalette();
    const first = selected().textContent;
    await user.keyboard("{ArrowUp}");
    expect(selected()).toHaveTextContent("Sign out");
    await user.keyboard("{ArrowDown}");
    expect(selected().textContent).toBe(first);
  });

  it("does not search users for one who is no admin", async () => {
    const { user } = await openPalette(aProfile({ email: "ada@example.com", roles: ["user"] }));
    await user.keyboard("bob");
    await waitFor(() => expect(screen.getByText("Nothing matches")).toBeInTheDocument());
  });
});
