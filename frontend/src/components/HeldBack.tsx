import type { ReactNode } from "react";

interface Props {
  /** Whether something above is still to get its height. */
  while: boolean;
  children: ReactNode;
}

/**
 * What stands below a part of unknown height. It loads at once, but is shown only when the part
 * above is there, so that nothing moves under the reader's eyes.
 */
export function HeldBack({ while: isHeld, children }: Props) {
  return (
    <div hidden={isHeld} className="contents">
      {children}
    </div>
  );
}
