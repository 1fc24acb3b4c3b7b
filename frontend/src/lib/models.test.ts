import { describe, expect, it } from "vitest";
import { isNamedForEmbeddings, readAccess, shortModel, writeAccess } from "@/lib/models";

describe("shortModel", () => {
  it.each([
    ["registry.ollama.ai/library/smollm2:*", "smollm2"],
    ["registry.ollama.ai/library/smollm2:135m", "smollm2:135m"],
    ["registry.ollama.ai/team/*:*", "team/*"],
    ["hf.co/x/y:q4", "hf.co/x/y:q4"],
    ["!registry.ollama.ai/library/qwen3:8b", "!qwen3:8b"],
    ["*", "*"],
  ])("%s is %s", (pattern, short) => {
    expect(shortModel(pattern)).toBe(short);
  });
});

describe("the name of a model for embeddings", () => {
  it.each([
    ["all-minilm:l6", true],
    ["nomic-embed-text:latest", true],
    ["qwen3-embedding:8b", true],
    ["bge-m3", true],
    ["smollm2:135m", false],
  ])("%s: %s", (name, expected) => {
    expect(isNamedForEmbeddings(name)).toBe(expected);
  });
});

describe("access to models", () => {
  it.each([
    { models: null, kind: "all", allowed: [], denied: [] },
    { models: [], kind: "none", allowed: [], denied: [] },
    { models: ["*", "!team/*"], kind: "all", allowed: [], denied: ["team/*"] },
    {
      models: ["smollm2", "!smollm2:135m"],
      kind: "some",
      allowed: ["smollm2"],
      denied: ["smollm2:135m"],
    },
  ])("$models is read and written back", ({ models, ...access }) => {
    expect(readAccess(models)).toEqual(access);
    expect(writeAccess(readAccess(models))).toEqual(models);
  });

  it("is no model if none of “these” is chosen", () => {
    expect(writeAccess({ kind: "some", allowed: [], denied: ["x"] })).toEqual([]);
  });
});
