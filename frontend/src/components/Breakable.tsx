import { Fragment } from "react";

/** Where a line may end in an address or a name: after these. */
const PARTS = /[^@./:_-]*[@./:_-]*/g;

/** An address or a name that breaks after its signs, and inside of a word only if it must. */
export function Breakable({ children }: { children: string }) {
  const parts = children.match(PARTS) ?? [];
  return parts.map((part, index) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: a part has a fixed place
    <Fragment key={index}>
      {index > 0 && part !== "" && <wbr />}
      {part}
    </Fragment>
  ));
}
