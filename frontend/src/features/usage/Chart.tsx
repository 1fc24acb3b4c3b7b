import { roundUp } from "@/features/usage/axis";
import { fillOf } from "@/features/usage/colours";
import { stepText } from "@/features/usage/period";
import type { Point } from "@/features/usage/series";
import { t } from "@/features/usage/text";
import { partsOf, tokensOf } from "@/features/usage/totals";
import { short } from "@/lib/numbers";

interface Props {
  points: readonly Point[];
  models: readonly string[];
}

/** The most labels below the picture. */
const MAX_LABELS = 8;
const LINES = [1, 0.75, 0.5, 0.25, 0];

/** Tokens over time as bars. The table below has the numbers. */
export function Chart({ points, models }: Props) {
  const largest = Math.max(...points.map(({ totals }) => tokensOf(totals)));
  const top = roundUp(largest);
  const peak = points.find(({ totals }) => tokensOf(totals) === largest);
  const every = Math.ceil(points.length / MAX_LABELS);
  return (
    <figure className="@container flex flex-col gap-1">
      <div className="flex h-44 gap-2">
        <div aria-hidden className="relative w-10 shrink-0 text-muted text-xs tabular-nums">
          {LINES.map((line) => (
            <span
              key={line}
              className="absolute inset-x-0 -translate-y-1/2 text-end"
              style={{ top: `${100 * (1 - line)}%` }}
            >
              {short(top * line)}
            </span>
          ))}
        </div>
        <svg
          role="img"
          aria-label={t("time.picture", {
            peak: stepText(peak?.step ?? ""),
            tokens: largest,
          })}
          className="h-full min-w-0 flex-1 overflow-visible"
        >
          {LINES.map((line) => (
            <rect
              key={line}
              y={`${100 * (1 - line)}%`}
              width="100%"
              height="1"
              className={line === 0 ? "fill-edge" : "fill-line"}
            />
          ))}
          {points.map((point, index) => (
            <Bar
              key={point.step}
              point={point}
              parts={partsOf(point.byModel, models)}
              x={(100 * index) / points.length}
              width={100 / points.length}
              top={top}
            />
          ))}
        </svg>
      </div>
      <div aria-hidden className="relative ms-12 h-4 text-muted text-xs">
        {points.map(({ step }, index) =>
          index % every === 0 ? (
            <span
              key={step}
              className={`absolute -translate-x-1/2 whitespace-nowrap ${(index / every) % 2 === 1 ? "@max-md:hidden" : ""}`}
              style={{ left: `${(100 * (index + 0.5)) / points.length}%` }}
            >
              {stepText(step)}
            </span>
          ) : null,
        )}
      </div>
    </figure>
  );
}

interface BarProps {
  point: Point;
  parts: readonly number[];
  /** In percent of the picture. */
  x: number;
  width: number;
  top: number;
}

function Bar({ point, parts, x, width, top }: BarProps) {
  const gap = width * 0.14;
  let height = 0;
  return (
    <g className="group">
      <title>{barText(point)}</title>
      <rect
        x={`${x}%`}
        width={`${width}%`}
        height="100%"
        className="fill-transparent group-hover:fill-hover"
      />
      {parts.map((part, index) => {
        if (part === 0) return null;
        const own = (100 * part) / top;
        height += own;
        return (
          <rect
            // biome-ignore lint/suspicious/noArrayIndexKey: a part has a fixed place
            key={index}
            x={`${x + gap}%`}
            width={`${width - 2 * gap}%`}
            y={`${100 - height}%`}
            height={`${own}%`}
            className={fillOf(index, parts.length)}
          />
        );
      })}
    </g>
  );
}

function barText({ step, totals }: Point): string {
  return t("time.bar", {
    step: stepText(step),
    tokens: tokensOf(totals),
    prompt: totals.prompt_tokens,
    completion: totals.completion_tokens,
    requests: totals.requests,
  });
}
