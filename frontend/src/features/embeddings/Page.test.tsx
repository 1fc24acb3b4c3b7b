import { screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { beforeEach, describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { problem, server } from "@/test/server";

const VECTORS: Record<string, number[]> = {
  horse: [1, 0, 0],
  pony: [0.9, 0.1, 0],
  bill: [0, 0, 1],
};

interface Body {
  model: string;
  input: string[];
}

/** Answers with a vector for each text. Returns the bodies of the requests. */
function serveEmbed() {
  const bodies: Body[] = [];
  server.use(
    http.post("*/api/embed", async ({ request }) => {
      const body = (await request.json()) as Body;
      bodies.push(body);
      const embeddings = body.input.map((text) => VECTORS[text] ?? [1, 1, 1]);
      return HttpResponse.json({ embeddings, prompt_eval_count: 9 });
    }),
  );
  return bodies;
}

beforeEach(() => {
  server.use(
    http.get("*/api/tags", () =>
      HttpResponse.json({
        models: [
          { name: "smollm2:135m", details: { family: "llama" } },
          { name: "all-minilm:l6", details: { family: "bert" } },
        ],
      }),
    ),
  );
});

async function openEmbeddings(path = "/embeddings") {
  const app = await renderApp(path);
  await screen.findByRole("option", { name: "smollm2:135m" });
  return { ...app, text: screen.getByRole("textbox", { name: "Text" }) };
}

const generate = () => screen.getByRole("button", { name: "Generate" });

describe("embeddings", () => {
  it("says how long the vector of a text is, with a model for embeddings", async () => {
    const bodies = serveEmbed();
    const { user, text } = await openEmbeddings();
    expect(screen.getByText("No vectors yet")).toBeInTheDocument();
    await user.type(text, "horse");
    await user.click(generate());
    expect(await screen.findByText("Vector length: 3")).toBeInTheDocument();
    expect(screen.getByText("From all-minilm:l6. 9 tokens.")).toBeInTheDocument();
    expect(screen.getByText("[1.0000, 0.0000, 0.0000]")).toBeInTheDocument();
    expect(bodies).toEqual([{ model: "all-minilm:l6", input: ["horse"] }]);
  });

  it("compares several texts, the most alike first, as a table and a picture", async () => {
    serveEmbed();
    const { user, text } = await openEmbeddings();
    await user.type(text, "horse\npony\n\nbill");
    expect(text).toHaveAccessibleDescription("3 texts");
    await user.click(generate());
    const table = await screen.findByRole("table", { name: "pairs of texts" });
    const rows = within(table).getAllByRole("row").slice(1);
    expect(rows.map((row) => row.textContent)).toEqual([
      "1 horse2 pony0.994",
      "1 horse3 bill0.000",
      "2 pony3 bill0.000",
    ]);
    expect(
      screen.getByRole("img", {
        name: "Similarities of 3 texts. The most alike are 1 and 2, with a cosine of 0.99.",
      }),
    ).toBeInTheDocument();
  });

  it("shows the pairs of one text, kept in the URL", async () => {
    serveEmbed();
    const { user, text, router } = await openEmbeddings();
    await user.type(text, "horse\npony\nbill");
    await user.click(generate());
    const choice = await screen.findByRole("combobox", { name: "Show pairs of" });
    await user.selectOptions(choice, "3 · bill");
    await waitFor(() => expect(router.state.location.search).toEqual({ text: 3 }));
    expect(screen.queryByRole("row", { name: /1 horse 2 pony/ })).not.toBeInTheDocument();
    expect(screen.getAllByRole("row")).toHaveLength(3);
  });

  it("takes all lines for one text on request", async () => {
    const bodies = serveEmbed();
    const { user, text } = await openEmbeddings("/embeddings?as=one");
    expect(
      screen.getByRole("checkbox", { name: "Each line is a text of its own" }),
    ).not.toBeChecked();
    await user.type(text, "a\nb");
    await user.click(generate());
    await waitFor(() => expect(bodies).toEqual([{ model: "all-minilm:l6", input: ["a\nb"] }]));
  });

  it("asks for a text before it calls the server", async () => {
    const { user, text } = await openEmbeddings();
    await user.click(generate());
    expect(text).toBeInvalid();
  });

  it("shows why Ollama refused, and tries again", async () => {
    server.use(
      http.post("*/api/embed", () =>
        HttpResponse.json({ error: "this model does not support embeddings" }, { status: 501 }),
      ),
    );
    const { user, text } = await openEmbeddings();
    await user.type(text, "horse");
    await user.click(generate());
    const alert = await screen.findByRole("alert");
    expect(alert).toHaveTextContent("This model does not support embeddings.");
    serveEmbed();
    await user.click(within(alert).getByRole("button", { name: "Retry" }));
    expect(await screen.findByText("Vector length: 3")).toBeInTheDocument();
  });

  it("takes a typed model if the models cannot be listed", async () => {
    server.use(
      http.get("*/api/tags", () => problem(503, { kind: "unavailable", detail: "no Ollama" })),
    );
    const bodies = serveEmbed();
    const { user } = await renderApp("/embeddings");
    const model = await screen.findByRole("textbox", { name: "Model" });
    expect(model).toHaveAccessibleDescription(/no Ollama/);
    await user.type(screen.getByRole("textbox", { name: "Text" }), "horse");
    await user.click(generate());
    expect(model).toBeInvalid();
    await user.type(model, "nomic");
    await user.click(generate());
    await waitFor(() => expect(bodies).toEqual([{ model: "nomic", input: ["horse"] }]));
  });
});
