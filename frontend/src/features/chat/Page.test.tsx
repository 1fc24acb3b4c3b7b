import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { HttpResponse, http } from "msw";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { signOut } from "@/api/session";
import { LAST, openChat, says, serveChat, serveModels } from "@/test/chat";
import { aProfile } from "@/test/fixtures";
import { renderApp } from "@/test/render";
import { problem, server } from "@/test/server";

// The first answer loads it, which may take longer than a test waits.
beforeAll(() => import("@/features/chat/Markdown"));

beforeEach(async () => {
  // The conversation of the former test ends with its session.
  await signOut();
  serveModels("smollm2:135m", "llama3.2:1b");
});

describe("a question", () => {
  it("streams the answer as Markdown and shows Ollama's numbers", async () => {
    const chat = serveChat();
    const { user, prompt, log } = await openChat();
    await screen.findByRole("combobox", { name: "Model" });
    await user.type(prompt, "Hello{Enter}");
    expect(within(log).getByText("Hello")).toBeInTheDocument();
    expect(prompt).toHaveValue("");
    await chat.write(says("# Hi\n\nSome **bold** "));
    expect(await screen.findByRole("heading", { name: "Hi" })).toBeInTheDocument();
    await chat.write(says("words"));
    await chat.write(LAST);
    chat.end();
    expect(await screen.findByText("20.0 tokens/s")).toBeInTheDocument();
    expect(screen.getByText("40 tokens in the answer")).toBeInTheDocument();
    expect(within(log).getByText("bold").tagName).toBe("STRONG");
    expect(chat.bodies).toEqual([
      { model: "smollm2:135m", messages: [{ role: "user", content: "Hello" }], stream: true },
    ]);
  });

  it("sends the conversation, the system prompt and the options that were set", async () => {
    const chat = serveChat();
    const { user, prompt } = await openChat("/chat?settings=true&model=llama3.2:1b");
    await user.type(screen.getByRole("textbox", { name: "System prompt" }), "Be brief.");
    await user.type(screen.getByRole("textbox", { name: "Temperature" }), "0.5");
    await user.type(screen.getByRole("textbox", { name: "Max tokens" }), "64");
    await user.type(prompt, "One{Enter}");
    await chat.write(says("1"));
    await chat.write(LAST);
    chat.end();
    await screen.findByText("20.0 tokens/s");
    await user.type(prompt, "Two");
    await user.click(screen.getByRole("button", { name: "Send" }));
    await waitFor(() => expect(chat.bodies).toHaveLength(2));
    expect(chat.bodies[1]).toEqual({
      model: "llama3.2:1b",
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "One" },
        { role: "assistant", content: "1" },
        { role: "user", content: "Two" },
      ],
      stream: true,
      options: { temperature: 0.5, num_predict: 64 },
    });
  });

  it("is not sent with a setting that breaks its rule", async () => {
    const { user, prompt } = await openChat("/chat?settings=true");
    const temperature = screen.getByRole("textbox", { name: "Temperature" });
    await user.type(temperature, "9");
    await user.type(prompt, "Hello{Enter}");
    expect(temperature).toBeInvalid();
    expect(prompt).toHaveValue("Hello");
  });

  it("is not sent by the Enter that ends a composition", async () => {
    const { user, prompt } = await openChat();
    await user.type(prompt, "日本");
    fireEvent.keyDown(prompt, { key: "Enter", isComposing: true });
    fireEvent.keyDown(prompt, { key: "Enter", shiftKey: true });
    expect(prompt).toHaveValue("日本");
  });

  it("carries attached images, and refuses other files", async () => {
    const chat = serveChat();
    const { user, prompt } = await openChat();
    const files = screen.getByTestId("image-files");
    fireEvent.change(files, {
      target: {
        files: [
          new File(["abc"], "cat.png", { type: "image/png" }),
          new File(["%PDF"], "cat.pdf", { type: "application/pdf" }),
        ],
      },
    });
    expect(await screen.findByRole("alert")).toHaveTextContent("cat.pdf is not attached");
    expect(screen.getByRole("button", { name: "Remove cat.png" })).toBeInTheDocument();
    expect(await screen.findByText(/cannot see images/)).toBeInTheDocument();
    await user.type(prompt, "What is it?{Enter}");
    await waitFor(() => expect(chat.bodies[0]?.messages[0]?.images).toEqual([btoa("abc")]));
    expect(screen.getByRole("img", { name: "cat.png" })).toBeInTheDocument();
  });
});

describe("an answer", () => {
  it("is stopped in Send's place, keeps its text and is cancelled at the server", async () => {
    const chat = serveChat();
    const { user, prompt } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    await chat.write(says("Half an"));
    await screen.findByText("Half an");
    await user.click(screen.getByRole("button", { name: "Stop" }));
    expect(await screen.findByText("Stopped. What had arrived is kept.")).toBeInTheDocument();
    expect(screen.getByText("Half an")).toBeInTheDocument();
    await waitFor(() => expect(chat.isCancelled()).toBe(true));
    expect(screen.getByRole("button", { name: "Send" })).toHaveFocus();
  });

  it("that breaks off says so, keeps its text and can be tried again", async () => {
    const chat = serveChat();
    const { user, prompt } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    await chat.write(says("Half an"));
    await screen.findByText("Half an");
    chat.breakOff();
    expect(await screen.findByRole("alert")).toHaveTextContent("The answer broke off");
    expect(screen.getByText("Half an")).toBeInTheDocument();
    await user.click(screen.getByRole("button", { name: "Retry" }));
    await waitFor(() => expect(chat.bodies).toHaveLength(2));
    expect(chat.bodies[1]?.messages).toEqual([{ role: "user", content: "Hello" }]);
    expect(screen.queryByText("Half an")).not.toBeInTheDocument();
  });

  it.each([
    ["without its last line", undefined, "The answer broke off"],
    ["with an error of Ollama", { error: "out of memory" }, "Out of memory."],
  ])("that ends %s has failed", async (_, line, text) => {
    const chat = serveChat();
    const { user, prompt } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    await chat.write(says("Half an"));
    if (line !== undefined) await chat.write(line);
    chat.end();
    expect(await screen.findByRole("alert")).toHaveTextContent(text);
    expect(await screen.findByText("Half an")).toBeInTheDocument();
  });

  it("that a limit refuses shows when to try again", async () => {
    server.use(
      http.post("*/api/chat", () =>
        HttpResponse.json(
          { error: "too many requests" },
          { status: 429, headers: { "Retry-After": "9" } },
        ),
      ),
    );
    const { user, prompt } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    expect(await screen.findByRole("button", { name: /^Retry in \d seconds$/ })).toBeDisabled();
  });

  it("shows what the model thought, folded", async () => {
    const chat = serveChat();
    const { user, prompt } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    await chat.write({ message: { content: "", thinking: "The user greets." }, done: false });
    const thought = await screen.findByText("The user greets.");
    expect(thought.closest("details")).not.toHaveAttribute("open");
    await chat.write(says("Hi"));
    expect(await screen.findByText(/^Thought for 1 second/)).toBeInTheDocument();
  });

  it("runs nothing and loads nothing that the model wrote", async () => {
    const chat = serveChat();
    const { user, prompt, log } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    await chat.write(
      says(
        "<img src=x onerror=alert(1)> <script>a</script> ![logo](https://evil.example/x.png) [run](javascript:alert(1)) [home](/ui/users) [site](https://example.com)",
      ),
    );
    const link = await screen.findByRole("link", { name: "site" });
    expect(link).toHaveAttribute("rel", "noopener noreferrer nofollow");
    expect(within(log).getAllByRole("link")).toEqual([link]);
    expect(within(log).queryByRole("img")).not.toBeInTheDocument();
    expect(log.querySelector("script, img")).toBeNull();
    expect(within(log).getByText(/<img src=x onerror=alert\(1\)>/)).toBeInTheDocument();
  });
});

describe("the conversation", () => {
  it("continues on other pages, and begins anew on request", async () => {
    const chat = serveChat();
    const { user, prompt, router } = await openChat();
    await user.type(prompt, "Hello{Enter}");
    await chat.write(says("While "));
    await screen.findByText("While");
    await router.navigate({ to: "/sign-in" });
    await router.navigate({ to: "/chat" });
    await chat.write(says("away"));
    expect(await screen.findByText("While away")).toBeInTheDocument();
    await user.click(screen.getByRole("button", { name: "New conversation" }));
    expect(screen.getByText("No messages yet")).toBeInTheDocument();
    await waitFor(() => expect(chat.isCancelled()).toBe(true));
  });

  it("follows its end, except while the reader has scrolled up", async () => {
    const { user, log } = await openChat();
    let height = 1000;
    Object.defineProperties(log, {
      scrollHeight: { get: () => height },
      clientHeight: { get: () => 400 },
    });
    const scrollTo = (top: number) => {
      log.scrollTop = top;
      fireEvent.scroll(log);
    };
    const toEnd = () => screen.queryByRole("button", { name: "Go to the end of the conversation" });
    scrollTo(600);
    height = 1200;
    fireEvent.scroll(log);
    expect(toEnd()).not.toBeInTheDocument();
    scrollTo(300);
    await user.click(toEnd() as HTMLElement);
    expect(log.scrollTop).toBe(1200);
  });

  it("is not shown to another user", async () => {
    serveChat();
    const first = await openChat();
    await first.user.type(first.prompt, "Secret{Enter}");
    first.unmount();
    await renderApp("/chat", { as: aProfile({ id: 7, roles: ["user"] }) });
    expect(await screen.findByText("No messages yet")).toBeInTheDocument();
  });
});

describe("the model", () => {
  it("is chosen among the user's models, chat models first, and kept in the URL", async () => {
    server.use(
      http.get("*/api/tags", () =>
        HttpResponse.json({
          models: [
            { name: "qwen3-embedding:8b", capabilities: ["completion"] },
            { name: "all-minilm:l6", details: { family: "bert" } },
            { name: "smollm2:135m", details: { family: "llama" } },
          ],
        }),
      ),
    );
    const { user, router } = await openChat();
    await screen.findByRole("option", { name: "smollm2:135m" });
    const model = screen.getByRole("combobox", { name: "Model" });
    expect(model).toHaveValue("smollm2:135m");
    await user.selectOptions(model, "all-minilm:l6");
    await waitFor(() => expect(router.state.location.search).toEqual({ model: "all-minilm:l6" }));
  });

  it("is typed if there is none, and must be given", async () => {
    serveModels();
    const chat = serveChat();
    const { user, prompt } = await openChat();
    const model = await screen.findByRole("textbox", { name: "Model" });
    expect(model).toHaveAccessibleDescription(/Ollama has none/);
    await user.type(prompt, "Hello{Enter}");
    expect(model).toBeInvalid();
    await user.type(model, "phi4");
    await user.type(prompt, "{Enter}");
    await waitFor(() => expect(chat.bodies[0]?.model).toBe("phi4"));
  });

  it("is typed if Ollama is away, which is said, and listed once it is back", async () => {
    server.use(
      http.get("*/api/tags", () => problem(503, { kind: "unavailable", detail: "Ollama is away" })),
    );
    const { user } = await openChat();
    const model = await screen.findByRole("textbox", { name: "Model" });
    expect(model).toHaveAccessibleDescription(/Ollama is away/);
    serveModels("smollm2:135m");
    await user.click(screen.getByRole("button", { name: "Load the list again" }));
    expect(await screen.findByRole("combobox", { name: "Model" })).toBeInTheDocument();
  });
});
