import { fillOf } from "@/features/usage/colours";

interface Props {
  /** The parts of the row; the last one is the rest. */
  parts: readonly number[];
  /** What a full bar stands for: the largest row. */
  full: number;
}

/** A row of a table as a bar. The numbers are beside it, so that it is for eyes only. */
export function ShareBar({ parts, full }: Props) {
  let from = 0;
  return (
    <svg aria-hidden="true" className="block h-2 w-full min-w-16">
      <rect width="100%" height="100%" rx="2" className="fill-subtle" />
      {parts.map((part, index) => {
        const x = from;
        const width = full === 0 ? 0 : (100 * part) / full;
        from += width;
        return width === 0 ? null : (
          <rect
            // biome-ignore lint/suspicious/noArrayIndexKey: a part has a fixed place
            key={index}
            x={`${x}%`}
            width={`${width}%`}
            height="100%"
            className={fillOf(index, parts.length)}
          />
        );
      })}
    </svg>
  );
}
