interface Props {
  size?: "md" | "lg";
}

/** The mark of Paddock: a fence. */
export function Logo({ size = "md" }: Props) {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true" className={size === "lg" ? "size-9" : "size-6"}>
      <rect width="32" height="32" rx="8" className="fill-accent" />
      <path
        d="M9 8v16M23 8v16M5 13h22M5 20h22"
        strokeWidth="2.6"
        strokeLinecap="round"
        className="fill-none stroke-on-accent"
      />
    </svg>
  );
}
