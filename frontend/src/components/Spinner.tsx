import { LoaderCircle } from "lucide-react";

/** A turning circle. Decorative: the text beside it must say what happens. */
export function Spinner() {
  return <LoaderCircle aria-hidden className="size-4 motion-safe:animate-spin" />;
}
