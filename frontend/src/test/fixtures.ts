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

/** An active key of the user `aUser()`. */
export function aCredential(parts: Partial<Schemas["Credential"]> = {}): Schemas["Credential"] {
  return {
    id: 7,
    user_id: 2,
    user_email: "ada@example.com",
    label: "ci",
    alg: "argon2id",
    prefix: "pdk_4fQ2mZ81xT",
    state: "active",
    versions: [
      {
        prefix: "pdk_4fQ2mZ81xT",
        state: "active",
        issued_at: "2026-11-01T10:00:00Z",
        ends_at: null,
      },
    ],
    scopes: ["chat", "generate", "embed", "models:read"],
    models: null,
    limits: NO_LIMITS,
    priority: "interactive",
    revoked: false,
    revoked_at: null,
    created_at: "2026-11-01T10:00:00Z",
    expires_at: null,
    last_used_at: null,
    managed_by: null,
    overridden_at: null,
    hints: [],
    ...parts,
  };
}

/** The usage of the signed-in user, without limits unless `limits` has some. */
export function anOwnUsage(limits: Partial<Schemas["LimitStates"]> = {}): Schemas["OwnUsage"] {
  return {
    from: "2026-11-01",
    to: "2026-12-01",
    credential_id: null,
    totals: NO_USAGE,
    by_key_and_model: [],
    limits: {
      user: {
        requests_per_minute: null,
        tokens_per_minute: null,
        tokens_per_day: null,
        tokens_per_month: null,
        max_concurrent: null,
        ...limits,
      },
      key: null,
    },
  };
}
