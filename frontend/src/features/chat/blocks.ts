/**
 * Cuts Markdown into blocks that can be rendered one by one. While an answer arrives, only its last
 * block changes, so that the others need not be parsed again for every part.
 */
export interface Blocks {
  source: string;
  /** Blocks that no later text can change. */
  finished: readonly string[];
  /** The rest of the text, which may still grow. */
  last: string;
}

export const NO_BLOCKS: Blocks = { source: "", finished: [], last: "" };

/** Continues from `former` if its text is the beginning of `source`, else starts anew. */
export function splitBlocks(source: string, former: Blocks = NO_BLOCKS): Blocks {
  const start = source.startsWith(former.source) ? former : NO_BLOCKS;
  const rest = source.slice(start.source.length - start.last.length);
  const { ends, begin } = boundaries(rest);
  if (ends.length === 0) return { source, finished: start.finished, last: rest };
  const finished = ends.map((end, index) => rest.slice(begin[index], end));
  return { source, finished: [...start.finished, ...finished], last: rest.slice(ends.at(-1)) };
}

/** The language and the text of a code block that has no end yet; undefined for other text. */
export function openCode(block: string): { language: string; text: string } | undefined {
  const [, fence, language = "", text = ""] =
    /^(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n]*\n?([\s\S]*)$/.exec(block) ?? [];
  if (fence === undefined || closes(fence).test(text)) return undefined;
  return { language, text };
}

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})/;
const LIST_ITEM = /^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)/;

interface Boundaries {
  begin: number[];
  ends: number[];
}

/** Where blocks end: at a blank line, unless what follows still belongs to the block. */
function boundaries(text: string): Boundaries {
  const scanner = new Scanner();
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf("\n", at);
    const end = newline === -1 ? text.length : newline + 1;
    scanner.add({ at, end, text: text.slice(at, end).trimEnd(), isWhole: newline !== -1 });
    at = end;
  }
  return { ends: scanner.ends, begin: [0, ...scanner.ends] };
}

interface Line {
  at: number;
  end: number;
  text: string;
  /** Whether the line has its end. Without, it may still become anything. */
  isWhole: boolean;
}

class Scanner {
  readonly ends: number[] = [];
  #fence: string | undefined;
  #isList = false;
  #isEmpty = true;
  /** The end of the blank lines before the present one. */
  #blankEnd: number | undefined;

  add(line: Line): void {
    if (this.#fence !== undefined) {
      if (closes(this.#fence).test(line.text)) this.#fence = undefined;
    } else if (line.text === "") {
      if (!this.#isEmpty) this.#blankEnd = line.end;
    } else {
      this.#addText(line);
    }
  }

  #addText(line: Line): void {
    const end = this.#endBefore(line);
    if (end !== undefined) {
      this.ends.push(end);
      this.#isEmpty = true;
    }
    if (this.#isEmpty) this.#isList = LIST_ITEM.test(line.text);
    this.#isEmpty = false;
    this.#blankEnd = undefined;
    this.#fence = FENCE.exec(line.text)?.[1];
  }

  /** Where the block before this line ends; undefined if the line belongs to it. */
  #endBefore(line: Line): number | undefined {
    if (this.#blankEnd !== undefined) {
      return canBegin(line.text, this.#isList) ? this.#blankEnd : undefined;
    }
    // Code needs no blank line before it.
    const isCode = line.isWhole && FENCE.test(line.text) && canBegin(line.text, false);
    return isCode && !this.#isEmpty && !this.#isList ? line.at : undefined;
  }
}

/** Indented lines continue a block, and an item continues a list. */
function canBegin(line: string, isList: boolean): boolean {
  if (/^\s/.test(line)) return false;
  // “1” or “-” alone may become an item.
  return !(isList && (LIST_ITEM.test(line) || /^(?:\d{1,9}[.)]?|[-*+])$/.test(line)));
}

function closes(fence: string): RegExp {
  return new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`, "m");
}
