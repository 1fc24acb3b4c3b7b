import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { describe, expect, it } from "vitest";
import { aUser } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { page, problem, server } from "@/test/server";

const ada = aUser();
const bob = aUser({ id: 3, email: "bob@example.com", roles: [], is_active: false });

/** Answers the list and single users. Returns the parameters of each list request. */
function serveUsers(...users: ReturnType<typeof aUser>[]) {
  const lists: URLSearchParams[] = [];
  server.use(
    http.get("*/users", ({ request }) => {
      const search = new URL(request.url).searchParams;
      lists.push(search);
      const q = search.get("q") ?? "";
      return page(users.filter((user) => user.email.includes(q)));
    }),
    http.get("*/users/:id", ({ params }) => {
      const user = users.find(({ id }) => id === Number(params.id));
      return user === undefined
        ? problem(404, { kind: "not-found", title: "Not found" })
        : HttpResponse.json(user);
    }),
  );
  return lists;
}

describe("user creation", () => {
  it("creates the user, says so and selects the user", async () => {
    serveUsers(ada);
    let body: unknown;
    server.use(
      http.post("*/users", async ({ request }) => {
        body = await request.json();
        return HttpResponse.json(ada, { status: 201 });
      }),
    );
    const { user, router } = await renderApp("/users");
    await user.type(await screen.findByRole("textbox", { name: "Email" }), " ada@example.com ");
    await user.click(screen.getByRole("button", { name: "Create" }));
    expect(await screen.findByText("Created ada@example.com")).toBeInTheDocument();
    expect(body).toEqual({ email: "ada@example.com", roles: ["user"] });
    await waitFor(() => expect(router.state.location.search).toEqual({ selected: 2 }));
    expect(screen.getByRole("textbox", { name: "Email" })).toHaveValue("");
  });

  it("shows the server's rule at the field, and nowhere else", async () => {
    serveUsers();
    const errors = [{ pointer: "/email", detail: "must have the form name@domain" }];
    server.use(http.post("*/users", () => problem(422, { kind: "invalid", errors })));
    const { user } = await renderApp("/users");
    const email = await screen.findByRole("textbox", { name: "Email" });
    await user.type(email, "ada{Enter}");
    await waitFor(() =>
      expect(email).toHaveAccessibleDescription("Must have the form name@domain"),
    );
    expect(email).toBeInvalid();
    expect(screen.queryByRole("alert")).not.toBeInTheDocument();
  });

  it("asks for an address before it calls the server", async () => {
    serveUsers();
    const { user } = await renderApp("/users");
    await user.click(await screen.findByRole("button", { name: "Create" }));
    expect(screen.getByRole("textbox", { name: "Email" })).toBeInvalid();
  });
});

describe("users & roles", () => {
  it("lists users with roles and state", async () => {
    serveUsers(ada, bob);
    await renderApp("/users");
    const row = (await screen.findByText("bob@example.com")).closest("tr");
    expect(within(row as HTMLElement).getByText("no role")).toBeInTheDocument();
    expect(within(row as HTMLElement).getByText("Disabled")).toBeInTheDocument();
  });

  it("searches on the server and keeps the search in the URL", async () => {
    const lists = serveUsers(ada, bob);
    const { user, router } = await renderApp("/users?page=2");
    await screen.findByText("bob@example.com");
    await user.type(screen.getByRole("textbox", { name: "Search users" }), "bob");
    await waitFor(() => expect(screen.queryByText("ada@example.com")).not.toBeInTheDocument());
    expect(router.state.location.search).toEqual({ q: "bob" });
    expect(lists.at(-1)?.get("offset")).toBe("0");
  });

  it("opens a deep link with search and selected user", async () => {
    serveUsers(ada, bob);
    await renderApp("/users?q=bob&selected=2");
    expect(await screen.findByRole("textbox", { name: "Search users" })).toHaveValue("bob");
    const settings = await screen.findByRole("region", { name: "User settings" });
    expect(within(settings).getByRole("checkbox", { name: "user" })).toBeChecked();
  });

  it("shows fresh data after one click on Refresh", async () => {
    serveUsers(ada);
    const { user } = await renderApp("/users");
    await screen.findByText("ada@example.com");
    serveUsers(ada, bob);
    await user.click(screen.getByRole("button", { name: "Refresh" }));
    expect(await screen.findByText("bob@example.com")).toBeInTheDocument();
  });

  it("says what to do if there are no users, or none match", async () => {
    serveUsers();
    const { user } = await renderApp("/users");
    expect(await screen.findByText("No users")).toBeInTheDocument();
    await user.type(screen.getByRole("textbox", { name: "Search users" }), "x{Enter}");
    expect(await screen.findByText("No user matches “x”")).toBeInTheDocument();
  });

  it("shows the cause, the request id and Retry", async () => {
    server.use(
      http.get("*/users", () =>
        problem(503, { kind: "unavailable", title: "Unavailable", detail: "no database" }),
      ),
    );
    const { user } = await renderApp("/users");
    const alert = await screen.findByRole("alert");
    expect(alert).toHaveTextContent("No database.");
    expect(alert).toHaveTextContent("req-1");
    serveUsers(ada);
    await user.click(within(alert).getByRole("button", { name: "Retry users" }));
    expect(await screen.findByText("ada@example.com")).toBeInTheDocument();
    expect(screen.queryByRole("alert")).not.toBeInTheDocument();
  });

  it("counts down before a retry after 429", async () => {
    server.use(http.get("*/users", () => problem(429, { kind: "rate-limited", retryAfter: 30 })));
    await renderApp("/users");
    const retry = await screen.findByRole("button", { name: /^Retry in \d+ seconds users$/ });
    expect(retry).toBeDisabled();
  });
});

describe("selected user", () => {
  it("Select shows the settings", async () => {
    serveUsers(ada, bob);
    const { user, router } = await renderApp("/users");
    await user.click(await screen.findByRole("button", { name: "Select bob@example.com" }));
    const active = await screen.findByRole("checkbox", { name: "Active" });
    expect(active).not.toBeChecked();
    expect(router.state.location.search).toEqual({ selected: 3 });
  });

  it("saves settings and says so", async () => {
    serveUsers(ada, bob);
    let patch: unknown;
    server.use(
      http.patch("*/users/3", async ({ request }) => {
        patch = await request.json();
        return HttpResponse.json({ ...bob, is_active: true, roles: ["user"] });
      }),
    );
    const { user } = await renderApp("/users?selected=3");
    await user.click(await screen.findByRole("checkbox", { name: "Active" }));
    await user.click(screen.getByRole("checkbox", { name: "user" }));
    await user.click(screen.getByRole("button", { name: "Save settings" }));
    expect(await screen.findByText("User updated")).toBeInTheDocument();
    expect(patch).toEqual({ is_active: true, roles: ["user"], display_name: null });
    expect(screen.getByRole("checkbox", { name: "Active" })).toBeChecked();
  });

  it("shows why a change was refused and keeps the choice", async () => {
    serveUsers(ada);
    server.use(
      http.patch("*/users/2", () =>
        problem(409, { kind: "last-admin", title: "Last admin", detail: "keep an admin" }),
      ),
    );
    const { user } = await renderApp("/users?selected=2");
    await user.click(await screen.findByRole("checkbox", { name: "user" }));
    await user.click(screen.getByRole("button", { name: "Save settings" }));
    expect(await screen.findByRole("alert")).toHaveTextContent("Last admin");
    expect(screen.getByRole("checkbox", { name: "user" })).not.toBeChecked();
  });

  it("sets a password and clears the field", async () => {
    serveUsers(ada);
    let body: unknown;
    server.use(
      http.post("*/users/2/password", async ({ request }) => {
        body = await request.json();
        return new HttpResponse(null, { status: 204 });
      }),
    );
    const { user } = await renderApp("/users?selected=2");
    await user.type(await screen.findByLabelText("New password"), "violet harbour tangle 93");
    await user.click(screen.getByRole("button", { name: "Update password" }));
    expect(await screen.findByText("Password updated")).toBeInTheDocument();
    expect(body).toEqual({ password: "violet harbour tangle 93" });
    expect(screen.getByLabelText("New password")).toHaveValue("");
  });

  it("asks before another selection throws away what was changed", async () => {
    serveUsers(ada, bob);
    const { user, router } = await renderApp("/users?selected=2");
    const settings = await screen.findByRole("region", { name: "User settings" });
    const admin = within(settings).getByRole("checkbox", { name: "admin" });
    await user.click(admin);
    await user.click(await screen.findByRole("button", { name: "Select bob@example.com" }));
    const question = await screen.findByRole("dialog", { name: "Discard your changes?" });
    expect(question).toHaveTextContent("the settings of ada@example.com");
    await user.click(within(question).getByRole("button", { name: "Cancel" }));
    expect(router.state.location.search).toEqual({ selected: 2 });
    expect(admin).toBeChecked();
    await user.click(screen.getByRole("button", { name: "Select bob@example.com" }));
    await user.click(await screen.findByRole("button", { name: "Discard changes" }));
    await waitFor(() => expect(router.state.location.search).toEqual({ selected: 3 }));
  });

  it("does not ask if a change was taken back", async () => {
    serveUsers(ada, bob);
    const { user, router } = await renderApp("/users?selected=2");
    const settings = await screen.findByRole("region", { name: "User settings" });
    await user.click(within(settings).getByRole("checkbox", { name: "admin" }));
    await user.click(within(settings).getByRole("checkbox", { name: "admin" }));
    await user.click(await screen.findByRole("button", { name: "Select bob@example.com" }));
    await waitFor(() => expect(router.state.location.search).toEqual({ selected: 3 }));
  });

  it("generates a password that can be copied until it is set", async () => {
    serveUsers(ada);
    let body: unknown;
    server.use(
      http.post("*/users/2/password", async ({ request }) => {
        body = await request.json();
        return new HttpResponse(null, { status: 204 });
      }),
    );
    const { user } = await renderApp("/users?selected=2");
    await user.click(await screen.findByRole("button", { name: "Generate a password" }));
    await user.click(screen.getByRole("button", { name: "Copy the new password" }));
    const password = await navigator.clipboard.readText();
    await user.click(screen.getByRole("button", { name: "Update password" }));
    expect(await screen.findByText("Password updated")).toBeInTheDocument();
    expect(body).toEqual({ password });
    expect(document.body).not.toHaveTextContent(password);
    expect(screen.getByLabelText("New password")).toHaveValue("");
  });

  it("shows the rule that a password breaks at the field", async () => {
    serveUsers(ada);
    const errors = [{ pointer: "/password", detail: "must have at least 15 characters" }];
    server.use(http.post("*/users/2/password", () => problem(422, { kind: "invalid", errors })));
    const { user } = await renderApp("/users?selected=2");
    const field = await screen.findByLabelText("New password");
    await user.type(field, "short{Enter}");
    await waitFor(() =>
      expect(field).toHaveAccessibleDescription("Must have at least 15 characters"),
    );
  });

  it("says that a linked user does not exist", async () => {
    serveUsers(ada);
    await renderApp("/users?selected=99");
    expect(await screen.findByRole("alert")).toHaveTextContent("Not found");
  });
});
