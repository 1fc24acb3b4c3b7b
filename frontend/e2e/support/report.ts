export interface Figure {
  name: string;
  unit: string;
  value: number;
  /** The value that it should not exceed. */
  budget?: number;
}

interface Row extends Figure {
  what: string;
}

/** Figures beside their budgets. */
export class Report {
  readonly #rows: Row[] = [];

  add(what: string, figures: readonly Figure[]): void {
    this.#rows.push(...figures.map((figure) => ({ what, ...figure })));
  }

  /** As a Markdown table. */
  text(): string {
    const cells = this.#rows.map(({ what, name, value, unit, budget }, index) => [
      this.#rows[index - 1]?.what === what ? "" : what,
      name,
      `${exact(value)} ${unit}`.trim(),
      budget === undefined ? "" : `${budget} ${unit}`.trim(),
      budget === undefined ? "" : value <= budget ? "met" : "MISSED",
    ]);
    const head = ["Page", "Figure", "Measured", "Budget", ""];
    const widths = head.map((text, column) =>
      Math.max(text.length, 3, ...cells.map((row) => row[column]?.length ?? 0)),
    );
    const line = (row: readonly string[]) =>
      `| ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join(" | ")} |`;
    const rule = widths.map((width) => "-".repeat(width));
    return [head, rule, ...cells].map(line).join("\n");
  }
}

/** With the digits that mean something. */
function exact(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value < 1 ? value.toFixed(4) : value.toFixed(value < 100 ? 1 : 0);
}
