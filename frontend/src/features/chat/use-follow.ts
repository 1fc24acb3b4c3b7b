import { type RefObject, useCallback, useLayoutEffect, useRef, useState } from "react";

/** The distance from the bottom, in pixels, that still counts as being there. */
const TOLERANCE = 24;

interface Follow {
  ref: RefObject<HTMLDivElement | null>;
  onScroll: () => void;
  isAtBottom: boolean;
  toBottom: () => void;
}

/**
 * Keeps the end of a growing element in view while the reader is there. A reader who has scrolled
 * up stays where they are. `end` changes when something was asked: then the end is shown again.
 */
export function useFollow(end: unknown): Follow {
  const ref = useRef<HTMLDivElement>(null);
  const isFollowing = useRef(true);
  const lastTop = useRef(0);
  const [isAtBottom, setIsAtBottom] = useState(true);

  const toBottom = useCallback(() => {
    const element = ref.current;
    if (element === null) return;
    isFollowing.current = true;
    element.scrollTop = element.scrollHeight;
  }, []);

  const onScroll = useCallback(() => {
    const element = ref.current;
    if (element === null) return;
    const { scrollTop, scrollHeight, clientHeight } = element;
    const isThere = scrollHeight - scrollTop - clientHeight <= TOLERANCE;
    // The event comes later than the scrolling. In the meantime the element may have grown, which
    // is no reason to stop: only a reader scrolls up.
    if (isThere) isFollowing.current = true;
    else if (scrollTop < lastTop.current) isFollowing.current = false;
    lastTop.current = scrollTop;
    setIsAtBottom(isFollowing.current);
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `end` is what it waits for
  useLayoutEffect(toBottom, [end, toBottom]);

  useLayoutEffect(() => {
    const element = ref.current;
    const content = element?.firstElementChild;
    if (element === null || !content) return undefined;
    const observer = new ResizeObserver(() => {
      if (isFollowing.current) element.scrollTop = element.scrollHeight;
    });
    observer.observe(content);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  return { ref, onScroll, isAtBottom, toBottom };
}
