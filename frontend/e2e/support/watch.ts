import type { BrowserContext, ConsoleMessage } from "@playwright/test";
import { origin } from "./environment.ts";

declare global {
  interface Window {
    /** Defined by `Watch`: reports to the story. */
    reportProblem?: (problem: string) => void;
  }
}

/** Chromium writes this for every answer of 4xx and 5xx, which stories provoke. */
const REFUSED_REQUEST = /^Failed to load resource/;

/** What a browser reports while a story runs. */
export class Watch {
  readonly #problems: string[] = [];
  readonly #console: string[] = [];
  readonly #urls: string[] = [];

  static async over(context: BrowserContext): Promise<Watch> {
    const watch = new Watch();
    await context.exposeFunction("reportProblem", (problem: string) => watch.#report(problem));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) =>
        window.reportProblem?.(`CSP: ${event.violatedDirective} ${event.blockedURI}`),
      );
    });
    context.on("weberror", (error) => watch.#report(`exception: ${error.error().message}`));
    context.on("dialog", (dialog) => {
      watch.#report(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    context.on("console", (line) => watch.#read(line));
    context.on("request", (request) => {
      const url = request.url();
      watch.#urls.push(url);
      const isOwn = url.startsWith(`${origin}/`) || /^(blob|data):/.test(url);
      if (!isOwn) watch.#report(`request to another host: ${url}`);
    });
    return watch;
  }

  /** Exceptions, CSP reports, console errors, dialogs and requests to other hosts. */
  problems(): readonly string[] {
    return this.#problems;
  }

  /** Forgets the problems of a story that provoked them. */
  forgive(): void {
    this.#problems.length = 0;
  }

  /** Every line of every console. */
  consoleLines(): readonly string[] {
    return this.#console;
  }

  /** The address of every request. */
  urls(): readonly string[] {
    return this.#urls;
  }

  #report(problem: string): void {
    this.#problems.push(problem);
  }

  #read(line: ConsoleMessage): void {
    this.#console.push(line.text());
    const isBad = line.type() === "error" || line.type() === "warning";
    if (isBad && !REFUSED_REQUEST.test(line.text())) this.#report(`console: ${line.text()}`);
  }
}
