import { screen } from "@testing-library/react";
import { useState } from "react";
import { describe, expect, it, vi } from "vitest";
import { LimitsFields, LimitsText } from "@/components/LimitsFields";
import { ManagedNotice } from "@/components/Managed";
import { ModelAccessField } from "@/components/ModelAccessField";
import { ModelAccessText } from "@/components/ModelAccessText";
import { aUser } from "@/test/fixtures";
import { renderPart } from "@/test/render";

describe("ModelAccessText", () => {
  it.each([
    { models: null, words: "every model, also future ones" },
    { models: [], words: "no model" },
    { models: ["a"], words: "this model: a" },
    { models: ["a", "b", "c"], words: "these 3 models: a, b, c" },
    { models: ["team/*"], words: "models that match this pattern: team/*" },
    { models: ["*", "!a"], words: "every model, also future ones, except this one: a" },
    {
      models: ["a", "b", "c", "d", "e", "f", "g", "h"],
      words: "these 8 models: a, b, c, d, e, f and 2 more",
    },
  ])("$models means $words", ({ models, words }) => {
    const { container } = renderPart(<ModelAccessText models={models} />);
    expect(container.firstElementChild?.textContent).toBe(words);
  });
});

describe("ModelAccessField", () => {
  function renderField(initial: string[] | null) {
    const onChange = vi.fn();
    const part = renderPart(
      <ModelAccessField
        legend="Which models?"
        initial={initial}
        onChange={onChange}
        known={["qwen3:8b", "smollm2:135m"]}
      />,
    );
    return { ...part, onChange };
  }

  it("chooses known models and others", async () => {
    const { user, onChange } = renderField(null);
    await user.click(screen.getByRole("radio", { name: "Only these models" }));
    expect(onChange).toHaveBeenLastCalledWith([]);
    await user.click(screen.getByRole("checkbox", { name: "qwen3:8b" }));
    await user.type(screen.getByRole("textbox", { name: "Other models" }), "team/*{Enter}x, y");
    expect(onChange).toHaveBeenLastCalledWith(["qwen3:8b", "team/*", "x", "y"]);
  });

  it("shows the present choice", () => {
    renderField(["registry.ollama.ai/library/qwen3:8b", "hf.co/x/y:q4"]);
    expect(screen.getByRole("checkbox", { name: "qwen3:8b" })).toBeChecked();
    expect(screen.getByRole("checkbox", { name: "smollm2:135m" })).not.toBeChecked();
    expect(screen.getByRole("textbox", { name: "Other models" })).toHaveValue("hf.co/x/y:q4");
  });

  it("allows every model except some", async () => {
    const { user, onChange } = renderField(null);
    await user.type(screen.getByRole("textbox", { name: "Except" }), "team/*");
    expect(onChange).toHaveBeenLastCalledWith(["*", "!team/*"]);
  });

  it("says what an empty choice means", async () => {
    const { user, onChange } = renderField(null);
    await user.click(screen.getByRole("radio", { name: "No model" }));
    expect(onChange).toHaveBeenLastCalledWith([]);
    expect(screen.getByText("no model")).toBeInTheDocument();
  });
});

const { limits } = aUser();

function LimitsForm({ onChange }: { onChange: (value: typeof limits) => void }) {
  const [value, setValue] = useState(limits);
  onChange(value);
  return <LimitsFields value={value} onChange={setValue} of="user" />;
}

describe("limits", () => {
  it("takes digits only, and nothing for no limit", async () => {
    const onChange = vi.fn();
    const { user } = renderPart(<LimitsForm onChange={onChange} />);
    const field = screen.getByRole("textbox", { name: "Tokens per day" });
    await user.type(field, "10,000 t");
    expect(onChange).toHaveBeenLastCalledWith({ ...limits, tokens_per_day: 10_000 });
    await user.clear(field);
    expect(onChange).toHaveBeenLastCalledWith(limits);
  });

  it("says which limits are set", () => {
    renderPart(
      <LimitsText
        of="key"
        limits={{ ...limits, requests_per_minute: 1, tokens_per_day: 20_000 }}
      />,
    );
    expect(screen.getByText("1 request per minute, 20,000 tokens per day")).toBeInTheDocument();
  });

  it("says what no limit means", () => {
    renderPart(<LimitsText of="key" limits={limits} />);
    expect(screen.getByText("No limit of its own")).toBeInTheDocument();
  });
});

describe("ManagedNotice", () => {
  it("gives the command that changes the object", async () => {
    const owner = { cluster: "c", namespace: "team-a", name: "ada", uid: "u" };
    const { user } = renderPart(<ManagedNotice owner={owner} kind="apiuser" />);
    await user.click(screen.getByRole("button", { name: "Copy the kubectl command" }));
    expect(await navigator.clipboard.readText()).toBe("kubectl -n team-a edit apiuser ada");
  });
});
