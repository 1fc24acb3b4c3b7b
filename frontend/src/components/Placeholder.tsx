/** A grey bar in the place of a large number that is being loaded, in the height of its line. */
export function Placeholder() {
  return (
    <span aria-hidden className="flex h-7 items-center">
      <span className="h-4 w-16 motion-safe:animate-pulse rounded bg-subtle" />
    </span>
  );
}
