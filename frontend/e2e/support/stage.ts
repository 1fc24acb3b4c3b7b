import { type Account, type Api, chatWith, freshEmail, type IssuedKey } from "./api.ts";

/** A small installation: what the pages show when somebody looks at them. */
export interface Stage {
  /** A user with a display name, keys and usage. */
  user: Account;
  /** A key of the user with two secrets during a rotation. */
  rotating: IssuedKey;
}

/** Prepares users, keys, usage and audit events. */
export async function prepareStage(api: Api, email = freshEmail("reports")): Promise<Stage> {
  const user = await api.createUser({ email, display_name: "Nightly reports" });
  const rotating = await api.createKey(user.id, { label: "reports" });
  await api.json("POST", `/credentials/${rotating.id}/rotate`, { grace_seconds: 86_400 });
  const notebook = await api.createKey(user.id, { label: "notebook", scopes: ["chat", "embed"] });
  const old = await api.createKey(user.id, { label: "old laptop" });
  await api.json("POST", `/credentials/${old.id}/revoke`);
  await chatWith(notebook.secret);
  return { user, rotating };
}
