import { isOneDay, type Period, stepsOf } from "@/features/usage/period";
import type { Totals, UsageRow } from "@/features/usage/queries";
import { sumOf, tokensOf } from "@/features/usage/totals";

/** An hour or a day. */
export interface Point {
  /** As `stepsOf` names it. */
  step: string;
  totals: Totals;
  byModel: Map<string, number>;
}

/** Every step of the period, also those without usage. */
export function pointsOf(rows: readonly UsageRow[], period: Period): Point[] {
  const isHourly = isOneDay(period);
  const byStep = new Map<string, UsageRow[]>(stepsOf(period).map((step) => [step, []]));
  for (const row of rows) {
    byStep.get((isHourly ? row.hour?.slice(0, 13) : row.day) ?? "")?.push(row);
  }
  return [...byStep].map(([step, own]) => {
    const byModel = new Map(own.map((row) => [row.model ?? "", tokensOf(row)]));
    return { step, totals: sumOf(own), byModel };
  });
}
