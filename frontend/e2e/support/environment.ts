/** What the stories need to know about the Paddock that they run against. */

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") throw new Error(`the variable ${name} must be set`);
  return value;
}

/** Where Paddock answers, as in `http://127.0.0.1:8080`. The UI is at `/ui/`. */
export const origin = new URL(required("PADDOCK_URL")).origin;

/** The first admin. */
export const admin = {
  email: required("PADDOCK_ADMIN_EMAIL"),
  password: required("PADDOCK_ADMIN_PASSWORD"),
};

/** A model of the Ollama behind Paddock that chats. */
export const chatModel = required("CHAT_MODEL");

/** A model of the Ollama behind Paddock that embeds, in 384 dimensions. */
export const embeddingModel = required("EMBEDDING_MODEL");

/** The name of a model whose pull fails, because its registry has no such model or is away. */
export const unavailableModel = process.env.UNAVAILABLE_MODEL ?? "paddock-tests/nothing:latest";
