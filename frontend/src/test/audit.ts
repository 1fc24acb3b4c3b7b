import { HttpResponse, http } from "msw";
import type { AuditEvent, Chain } from "@/features/audit/queries";
import { aUser } from "@/test/fixtures";
import { page, server } from "@/test/server";

/** A refused request of the user `aUser()`. */
export function anEvent(parts: Partial<AuditEvent> = {}): AuditEvent {
  return {
    id: 27,
    event_id: "01a22bc4-5ca8-731a-a701-c6ea6d0abdf5",
    event_type: "access_denied",
    occurred_at: "2026-11-30T10:03:12.000000Z",
    user_id: 2,
    credential_id: null,
    actor: "user:2",
    target: "GET /users",
    ip: "192.0.2.7",
    user_agent: "Mozilla/5.0 (X11) AppleWebKit/537.36 Chrome/143.0.0.0 Safari/537.36",
    request_id: "req-27",
    detail: "this needs the role `admin`",
    change: null,
    chain_version: 1,
    prev_hash: "aa",
    hash: "bb",
    ...parts,
  };
}

/** An admin revoked the key 7 of that user. */
export const revoked = anEvent({
  id: 30,
  event_type: "api_key_revoked",
  actor: "user:1",
  credential_id: 7,
  target: null,
  detail: null,
  change: { before: {}, after: { revoked_at: "2026-11-30T10:04:00Z" } },
});

/** Answers the list. Returns the parameters of each request. */
export function serveEvents(rows: AuditEvent[], next?: number) {
  const asked: URLSearchParams[] = [];
  server.use(
    http.get("*/audit", ({ request }) => {
      asked.push(new URL(request.url).searchParams);
      return HttpResponse.json(rows, next ? { headers: { "X-Next-Cursor": String(next) } } : {});
    }),
  );
  return asked;
}

/** Answers with the state of a verified chain of 30 events, unless `parts` says otherwise. */
export function serveChain(parts: Partial<Chain> = {}) {
  const chain: Chain = {
    state: "verified",
    head: { position: 30, hash: "feedface".repeat(8) },
    verified: { position: 30, hash: "feedface".repeat(8), at: new Date().toISOString() },
    complete_at: null,
    defect: null,
    ...parts,
  };
  server.use(http.get("*/audit/chain", () => HttpResponse.json(chain)));
}

/** Answers with the users and the key that these events name. */
export function serveNames() {
  server.use(
    http.get("*/users", () => page([aUser(), aUser({ id: 1, email: "admin@example.com" })])),
    http.get("*/credentials", () => page([{ id: 7, label: "ci", user_id: 2 }])),
  );
}
