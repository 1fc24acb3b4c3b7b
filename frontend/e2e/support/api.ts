import { randomUUID } from "node:crypto";
import { chatModel, origin } from "./environment.ts";

/** What a story decides about a user that it creates. */
interface NewUser {
  email?: string;
  display_name?: string | null;
  roles?: ("admin" | "user")[];
  /** Patterns of models; absent: every model. */
  models?: string[];
  limits?: { requests_per_minute?: number };
}

/** A user with a password that is known. */
export interface Account {
  id: number;
  email: string;
  password: string;
}

export interface IssuedKey {
  id: number;
  secret: string;
}

/** An answer that is not 2xx, with its body. */
class UnexpectedAnswer extends Error {}

/** A password that satisfies the rules: long, and hard to guess. */
export function freshPassword(): string {
  return `violet harbour ${randomUUID().slice(0, 13)}`;
}

/** An address that no other story uses. */
export function freshEmail(name = "user"): string {
  return `${name}-${randomUUID().slice(0, 8)}@example.com`;
}

/** Prepares what stories begin with, and sees what they end with, through the API. */
export class Api {
  #token: string | undefined;
  readonly #email: string;
  readonly #password: string;

  constructor({ email, password }: { email: string; password: string }) {
    this.#email = email;
    this.#password = password;
  }

  /** A request as the user; signs in first, and again once the token has expired. */
  async send(method: string, path: string, body?: unknown): Promise<Response> {
    this.#token ??= await this.#signIn();
    const first = await call(method, path, this.#token, body);
    if (first.status !== 401) return first;
    this.#token = await this.#signIn();
    return call(method, path, this.#token, body);
  }

  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.send(method, path, body);
    const text = await response.text();
    if (!response.ok) throw new UnexpectedAnswer(`${method} ${path}: ${response.status} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  async createUser(fields: NewUser = {}): Promise<Account> {
    const email = fields.email ?? freshEmail();
    const password = freshPassword();
    const user = await this.json<{ id: number }>("POST", "/users", {
      roles: ["user"],
      ...fields,
      email,
    });
    await this.json("POST", `/users/${user.id}/password`, { password });
    return { id: user.id, email, password };
  }

  async createKey(userId: number, fields: Record<string, unknown> = {}): Promise<IssuedKey> {
    const issued = await this.json<{ credential_id: number; plaintext: string }>(
      "POST",
      "/credentials",
      { user_id: userId, ...fields },
    );
    return { id: issued.credential_id, secret: issued.plaintext };
  }

  /** Ends every session of the user, in all browsers. */
  async endSessions(): Promise<void> {
    await this.send("POST", "/auth/logout?all=true");
    this.#token = undefined;
  }

  async #signIn(): Promise<string> {
    const response = await call("POST", "/auth/login", undefined, {
      username: this.#email,
      password: this.#password,
    });
    if (!response.ok) throw new UnexpectedAnswer(`sign-in: ${response.status}`);
    return ((await response.json()) as { access_token: string }).access_token;
  }
}

/** A request with a key or an access token, as a program sends it. */
export function call(
  method: string,
  path: string,
  token: string | undefined,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(new URL(path, origin), {
    method,
    headers: {
      ...headers,
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
      ...(body !== undefined && { "Content-Type": "application/json" }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
}

/** Asks the chat model one question with a key. */
export function chatWith(secret: string): Promise<Response> {
  return call("POST", "/api/chat", secret, {
    model: chatModel,
    messages: [{ role: "user", content: "Say hello." }],
    stream: false,
    options: { num_predict: 8 },
  });
}
