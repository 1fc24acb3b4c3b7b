import { describe, expect, it } from "vitest";
import { type Blocks, NO_BLOCKS, openCode, splitBlocks } from "@/features/chat/blocks";

const TEXT = `# Title

A paragraph
of two lines.

- one

- two

  continued

1. first

2. second

Code:
\`\`\`js
a();

b();
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

End.`;

const BLOCKS = [
  "# Title\n\n",
  "A paragraph\nof two lines.\n\n",
  "- one\n\n- two\n\n  continued\n\n1. first\n\n2. second\n\n",
  "Code:\n",
  "```js\na();\n\nb();\n```\n\n",
  "| a | b |\n|---|---|\n| 1 | 2 |\n\n",
];

describe("splitBlocks", () => {
  it("cuts at blank lines outside of code and lists", () => {
    expect(splitBlocks(TEXT)).toEqual({ source: TEXT, finished: BLOCKS, last: "End." });
  });

  it("gives the same blocks however the text arrives, and never changes a finished one", () => {
    for (const step of [1, 2, 3, 7, 50]) {
      let blocks: Blocks = NO_BLOCKS;
      for (let end = step; end < TEXT.length + step; end += step) {
        const next = splitBlocks(TEXT.slice(0, end), blocks);
        expect(next.finished.slice(0, blocks.finished.length)).toEqual(blocks.finished);
        expect(next.finished.join("") + next.last).toBe(TEXT.slice(0, end));
        blocks = next;
      }
      expect(blocks.finished).toEqual(BLOCKS);
    }
  });

  it("takes no text between backticks for the begin of code", () => {
    expect(splitBlocks("```a``` b\n\nc").finished).toEqual(["```a``` b\n\n"]);
  });

  it("starts anew for another text", () => {
    const former = splitBlocks("One.\n\nTwo.\n\nThree.");
    expect(splitBlocks("Other.\n\nText.", former).finished).toEqual(["Other.\n\n"]);
  });
});

describe("openCode", () => {
  it.each([
    ["```py\nprint(1)\n\nx", { language: "py", text: "print(1)\n\nx" }],
    ["~~~\n```\n", { language: "", text: "```\n" }],
    ["```", { language: "", text: "" }],
  ])("reads code without an end: %j", (block, code) => {
    expect(openCode(block)).toEqual(code);
  });

  it.each(["```py\nx\n```", "text", "`code`"])("finds none in %j", (block) => {
    expect(openCode(block)).toBeUndefined();
  });
});
