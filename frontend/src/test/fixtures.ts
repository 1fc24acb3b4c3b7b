import type { components } from "@/api/schema";

type Schemas = components["schemas"];

const NO_LIMITS: Schemas["Limits"] = {
  requests_per_minute: null,
  tokens_per_minute: null,
  tokens_per_day: null,
  tokens_per_month: null,
  max_concurrent: null,
};

const NO_USAGE: Schemas["Totals"] = {
  requests: 0,
  prompt_tokens: 0,
  cached_prompt_tokens: 0,
  completion_tokens: 0,
  estimated: 0,
  failed: 0,
};

/** An active user with the role `user`. */
export function aUser(parts: Partial<Schemas["User"]> = {}): Schemas["User"] {
  return {
    id: 2,
    email: "ada@example.com",
    display_name: null,
    external_id: null,
    is_active: true,
    roles: ["user"],
    models: null,
    limits: NO_LIMITS,
    managed_by: null,
    overridden_at: null,
    created_at: "2026-11-01T10:00:00Z",
    updated_at: "2026-11-01T10:00:00Z",
    hints: [],
    ...parts,
  };
}

/** The signed-in user, an admin unless `parts` says otherwise. */
export function aProfile(parts: Partial<Schemas["Profile"]> = {}): Schemas["Profile"] {
  return {
    id: 1,
    email: "admin@example.com",
    display_name: null,
    roles: ["admin"],
    scopes: [],
    models: null,
    limits: NO_LIMITS,
    usage: { today: NO_USAGE, this_month: NO_USAGE },
    key: null,
    ...parts,
  };
}
