import { describe, expect, it } from "vitest";
import { allowsModel } from "@/features/credentials/patterns";
import { clientsFor, snippet } from "@/features/credentials/snippets";

const parts = {
  server: "https://paddock.example.com",
  secret: "pdk_x",
  model: "qwen3:8b",
  label: "Nightly report",
  scopes: ["chat"] as const,
};

describe("snippets", () => {
  it("ask what the scopes allow", () => {
    expect(snippet("curl", parts)).toContain("/api/chat");
    expect(snippet("curl", { ...parts, scopes: ["embed"] })).toContain("/api/embed");
    expect(snippet("curl", { ...parts, scopes: ["models:read"] })).toContain("/api/tags");
    expect(snippet("curl", { ...parts, scopes: ["audit:read"] })).toContain("/me ");
  });

  it("quote the name of a model for the shell", () => {
    expect(snippet("ollama", { ...parts, model: "a'b" })).toContain(String.raw`'a'\''b'`);
  });

  it("give OpenAI the path /v1, and Anthropic none", () => {
    expect(snippet("openai", parts)).toContain('base_url="https://paddock.example.com/v1"');
    expect(snippet("anthropic", parts)).toContain('base_url="https://paddock.example.com"');
  });

  it("name contexts and Secrets after the label", () => {
    expect(snippet("ollama", parts)).toContain("--context nightly-report ");
    expect(snippet("kubectl", { ...parts, label: "ключ" })).toContain("generic paddock-apikey");
  });

  it("leave out clients that only chat, if the key may not", () => {
    expect(clientsFor(["embed"])).not.toContain("openai");
    expect(clientsFor(["chat"])).toContain("anthropic");
  });
});

describe("model patterns", () => {
  it.each([
    [null, "qwen3:8b", true],
    [[], "qwen3:8b", false],
    [["*"], "team/bot:1", true],
    [["qwen3"], "qwen3:8b", true],
    [["registry.ollama.ai/library/qwen3:*"], "qwen3:8b", true],
    [["qwen3:4b"], "qwen3:8b", false],
    [["qwen*"], "qwen3:8b", true],
    [["team/*"], "team/bot:1", true],
    [["team/*"], "bot:1", false],
    [["*", "!team/*"], "team/bot:1", false],
  ])("%j and %s: %s", (patterns, model, isAllowed) => {
    expect(allowsModel(patterns, model)).toBe(isAllowed);
  });
});
