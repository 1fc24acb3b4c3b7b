interface Props {
  /** What is being loaded, as in “Loading users”. */
  label: string;
  lines?: number;
}

/** Grey lines in the place of content that is being loaded. */
export function Skeleton({ label, lines = 3 }: Props) {
  return (
    <div role="status" className="flex flex-col gap-3 py-1">
      <span className="sr-only">{label}</span>
      {Array.from({ length: lines }, (_, line) => (
        <span
          // biome-ignore lint/suspicious/noArrayIndexKey: the lines are all alike
          key={line}
          className={`h-4 motion-safe:animate-pulse rounded bg-subtle ${line % 3 === 2 ? "w-1/2" : "w-full"}`}
        />
      ))}
    </div>
  );
}
