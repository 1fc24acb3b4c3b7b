import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it } from "vitest";
import { aCredential, anOwnUsage, aProfile } from "@/test/fixtures";
import { done, record, serveKeys } from "@/test/keys";
import { renderApp } from "@/test/render";
import { problem, server } from "@/test/server";

const ada = aProfile({ id: 2, email: "ada@example.com", roles: ["user"] });

beforeEach(() => {
  serveKeys(aCredential());
  server.use(http.get("*/me/usage", () => HttpResponse.json(anOwnUsage())));
});

describe("my account", () => {
  it("shows the profile, the roles and the models in words", async () => {
    await renderApp("/account", { as: { ...ada, models: [] } });
    const profile = await screen.findByRole("region", { name: "Profile" });
    expect(profile).toHaveTextContent("ada@example.com");
    expect(profile).toHaveTextContent("may use models");
    expect(profile).toHaveTextContent("no model");
  });

  it("is open to a user without a role, and says what that means", async () => {
    await renderApp("/account", { as: aProfile({ roles: [] }) });
    expect(await screen.findByText(/You have no role\. You can only/)).toBeInTheDocument();
    expect(screen.queryByRole("region", { name: "Own keys" })).not.toBeInTheDocument();
  });

  it("shows the own keys, without anything to change", async () => {
    await renderApp("/account", { as: ada });
    const keys = await screen.findByRole("region", { name: "Own keys" });
    expect(await within(keys).findByText("ci")).toBeInTheDocument();
    expect(within(keys).queryByRole("button")).not.toBeInTheDocument();
  });

  it("shows what is left of the limits that apply", async () => {
    const limit = { limit: 1000, used: 150, reserved: 100, left: 750, is_enforced: true };
    const resets_at = new Date(Date.now() + 3 * 3_600_000 + 5_000).toISOString();
    const limits = { tokens_per_day: { ...limit, resets_at } };
    server.use(http.get("*/me/usage", () => HttpResponse.json(anOwnUsage(limits))));
    await renderApp("/account", { as: ada });
    const panel = within(await screen.findByRole("region", { name: "What is left" }));
    expect(await panel.findByText("750 of 1,000 left")).toBeInTheDocument();
    expect(panel.getByText("full again in 3 hours")).toBeInTheDocument();
    expect(panel.queryByText("Tokens this month (UTC)")).not.toBeInTheDocument();
  });

  it("shows the usage of today and this month", async () => {
    const none = ada.usage.today;
    const usage = { today: none, this_month: { ...none, requests: 1234, prompt_tokens: 56 } };
    await renderApp("/account", { as: { ...ada, usage } });
    const row = (await screen.findByText("This month")).closest("tr");
    expect(row).toHaveTextContent("1,234");
  });

  it("leads to the usage in detail", async () => {
    await renderApp("/account", { as: ada });
    const usage = await screen.findByRole("region", { name: "Usage" });
    const link = await within(usage).findByRole("link", { name: "By key, model and day" });
    expect(link).toHaveAttribute("href", "/ui/my-usage");
  });

  it("shows why the limits cannot be read, with Retry", async () => {
    server.use(http.get("*/me/usage", () => problem(503, { kind: "unavailable" })));
    const { user } = await renderApp("/account", { as: ada });
    const limits = await screen.findByRole("region", { name: "What is left" });
    const retry = await within(limits).findByRole("button", { name: "Retry your limits" });
    server.use(http.get("*/me/usage", () => HttpResponse.json(anOwnUsage())));
    await user.click(retry);
    expect(await within(limits).findByText("No limit applies to you.")).toBeInTheDocument();
  });
});

describe("the own password", () => {
  async function change(current: string, next: string) {
    const app = await renderApp("/account", { as: ada });
    const panel = within(await screen.findByRole("region", { name: "Change own password" }));
    const fields = {
      current: panel.getByLabelText("Current password"),
      next: panel.getByLabelText("New password"),
    };
    if (current !== "") await app.user.type(fields.current, current);
    if (next !== "") await app.user.type(fields.next, next);
    await app.user.click(panel.getByRole("button", { name: "Update password" }));
    return { ...app, fields };
  }

  it("is changed, and leads to the sign-in page", async () => {
    const bodies = record("post", "*/me/password", done);
    const { router } = await change("old secret", "violet harbour tangle 93");
    await waitFor(() => expect(router.state.location.pathname).toBe("/sign-in"));
    expect(bodies).toEqual([
      { current_password: "old secret", new_password: "violet harbour tangle 93" },
    ]);
    expect(screen.getByText("Password updated")).toBeInTheDocument();
  });

  it("shows at the field that the current one is wrong, and stays signed in", async () => {
    const errors = [{ pointer: "/current_password", detail: "is not the present password" }];
    record("post", "*/me/password", () => problem(422, { kind: "invalid", errors }));
    const { fields, router } = await change("wrong", "violet harbour tangle 93");
    await waitFor(() =>
      expect(fields.current).toHaveAccessibleDescription("Is not the present password"),
    );
    expect(router.state.location.pathname).toBe("/account");
  });

  it("shows the rule that the new one breaks at its field", async () => {
    const errors = [{ pointer: "/new_password", detail: "must have at least 15 characters" }];
    record("post", "*/me/password", () => problem(422, { kind: "invalid", errors }));
    const { fields } = await change("old secret", "short");
    await waitFor(() => expect(fields.next).toBeInvalid());
    expect(fields.next).toHaveAccessibleDescription(/Must have at least 15 characters/);
    expect(screen.queryByRole("alert")).not.toBeInTheDocument();
  });

  it("asks for both before it calls the server", async () => {
    const { fields } = await change("", "");
    expect(fields.current).toBeInvalid();
    expect(fields.next).toBeInvalid();
  });
});

describe("sessions", () => {
  it("end everywhere", async () => {
    const asked: string[] = [];
    server.use(
      http.post("*/auth/logout", ({ request }) => {
        asked.push(new URL(request.url).search);
        return HttpResponse.json({ message: "signed out" });
      }),
    );
    const { user, router } = await renderApp("/account", { as: ada });
    await user.click(await screen.findByRole("button", { name: "Sign out everywhere" }));
    await waitFor(() => expect(router.state.location.pathname).toBe("/sign-in"));
    expect(asked).toEqual(["?all=true"]);
  });
});
