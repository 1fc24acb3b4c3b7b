import type { Scope } from "@/features/credentials/queries";

const CLIENTS = ["curl", "ollama", "openai", "anthropic", "env", "kubectl"] as const;
export type Client = (typeof CLIENTS)[number];

interface Parts {
  /** The base URL of the server, without a slash at its end. */
  server: string;
  secret: string;
  model: string;
  /** What the key is called: a name for its context and its Kubernetes Secret follow from it. */
  label: string;
  scopes: readonly Scope[];
}

/** Ready to run: how a client uses the key. */
export function snippet(client: Client, parts: Parts): string {
  return SNIPPETS[client](parts);
}

/** The clients that can do something with these scopes. */
export function clientsFor(scopes: readonly Scope[]): readonly Client[] {
  if (scopes.includes("chat")) return CLIENTS;
  return CLIENTS.filter((client) => client !== "openai" && client !== "anthropic");
}

const SNIPPETS: Record<Client, (parts: Parts) => string> = {
  curl: ({ server, secret, model, scopes }) => {
    const { path, body } = request(scopes, model);
    const lines = [`curl -s ${server}${path}`, `  -H 'Authorization: Bearer ${secret}'`];
    if (body !== undefined) {
      lines.push("  -H 'Content-Type: application/json'", `  -d ${quoted(JSON.stringify(body))}`);
    }
    return lines.join(" \\\n");
  },
  ollama: ({ server, secret, model, label }) =>
    [
      `printf '%s\\n' ${secret} |`,
      `  paddock login --with-key --context ${slug(label)} --server ${server}`,
      "paddock connect",
      "",
      "# in another terminal",
      `ollama run ${quoted(model)} "Hello"`,
    ].join("\n"),
  openai: ({ server, secret, model }) =>
    [
      "from openai import OpenAI",
      "",
      "client = OpenAI(",
      `    base_url="${server}/v1",`,
      `    api_key="${secret}",`,
      ")",
      "completion = client.chat.completions.create(",
      `    model=${JSON.stringify(model)},`,
      '    messages=[{"role": "user", "content": "Hello"}],',
      ")",
      "print(completion.choices[0].message.content)",
    ].join("\n"),
  anthropic: ({ server, secret, model }) =>
    [
      "from anthropic import Anthropic",
      "",
      "client = Anthropic(",
      `    base_url="${server}",`,
      `    api_key="${secret}",`,
      ")",
      "message = client.messages.create(",
      `    model=${JSON.stringify(model)},`,
      "    max_tokens=256,",
      '    messages=[{"role": "user", "content": "Hello"}],',
      ")",
      "print(message.content[0].text)",
    ].join("\n"),
  env: (parts) =>
    variables(parts)
      .map(([name, value]) => `export ${name}=${value}`)
      .join("\n"),
  kubectl: (parts) =>
    [
      `kubectl create secret generic ${slug(parts.label)}-apikey`,
      ...variables(parts).map(([name, value]) => `  --from-literal=${name}=${value}`),
    ].join(" \\\n"),
};

/** What the SDKs read; the same as in a Secret that the operator writes. */
function variables({ server, secret }: Parts): [name: string, value: string][] {
  return [
    ["OLLAMA_HOST", server],
    ["OLLAMA_API_KEY", secret],
    ["OPENAI_BASE_URL", `${server}/v1`],
    ["OPENAI_API_KEY", secret],
    ["ANTHROPIC_BASE_URL", server],
    ["ANTHROPIC_API_KEY", secret],
  ];
}

/** A request that the scopes allow. */
function request(scopes: readonly Scope[], model: string): { path: string; body?: object } {
  if (scopes.includes("chat")) {
    const messages = [{ role: "user", content: "Hello" }];
    return { path: "/api/chat", body: { model, messages, stream: false } };
  }
  if (scopes.includes("generate")) {
    return { path: "/api/generate", body: { model, prompt: "Hello", stream: false } };
  }
  if (scopes.includes("embed")) return { path: "/api/embed", body: { model, input: "Hello" } };
  return { path: scopes.includes("models:read") ? "/api/tags" : "/me" };
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** A name that contexts and Kubernetes objects may have. */
function slug(label: string): string {
  const word = label
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 40)
    .replace(/^-+|-+$/g, "");
  return word === "" ? "paddock" : word;
}
