/** Browsers by the mark that tells them from those that pretend to be them, in that order. */
const BROWSERS: readonly [mark: RegExp, name: string][] = [
  [/Edg\/(\d+)/, "Edge"],
  [/OPR\/(\d+)/, "Opera"],
  [/Firefox\/(\d+)/, "Firefox"],
  [/Chrome\/(\d+)/, "Chrome"],
  [/Version\/(\d+).*Safari/, "Safari"],
];

/** A User-Agent in a few words, as in `Chrome 143` or `curl/8.11.1`. */
export function agentName(agent: string): string {
  for (const [mark, name] of BROWSERS) {
    const version = mark.exec(agent)?.[1];
    if (version !== undefined) return `${name} ${version}`;
  }
  return agent.split(" ")[0] ?? agent;
}
