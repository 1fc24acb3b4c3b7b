import { defineConfig } from "@playwright/test";
import stories from "./playwright.config.ts";

/** Where the Paddock that is measured answers, if none runs at `PADDOCK_URL`. */
const ADDRESS = "127.0.0.1:8090";
/** Where `figures.ts` answers in the place of Ollama. */
process.env.SCRIPTED_OLLAMA_PORT ??= "8091";

process.env.PADDOCK_ADMIN_EMAIL ??= "admin@example.com";
process.env.PADDOCK_ADMIN_PASSWORD ??= "admin";
process.env.CHAT_MODEL ??= "smollm2:135m";
process.env.EMBEDDING_MODEL ??= "all-minilm:l6";
const isRunning = process.env.PADDOCK_URL !== undefined;
process.env.PADDOCK_URL ??= `http://${ADDRESS}`;

const paddock = process.env.PADDOCK_BIN ?? "paddock";
const database = process.env.DATABASE_FILE ?? "paddock.db";

/** Measures the pages with long lists and a long answer: `make ui-figures`. */
export default defineConfig({
  ...stories,
  testMatch: "figures.ts",
  // Ten thousand rows take minutes on a busy machine.
  timeout: 600_000,
  reporter: [["dot"]],
  use: { ...stories.use, baseURL: process.env.PADDOCK_URL, trace: "off", screenshot: "off" },
  ...(!isRunning && {
    webServer: {
      // The rows are inserted first: Paddock keeps the end of the audit log in memory.
      command: [
        `${paddock} migrate`,
        `sqlite3 -bail ${database} <figures.sql`,
        `exec ${paddock} run --env dev`,
      ].join(" && "),
      url: `http://${ADDRESS}/healthz`,
      env: {
        LISTEN_ADDR: ADDRESS,
        DATABASE_URL: `sqlite:${database}`,
        OLLAMA_BASE_URL: `http://127.0.0.1:${process.env.SCRIPTED_OLLAMA_PORT}`,
        RATE_LIMIT_PER_MINUTE: "1000000",
        // The inserted events are in no chain, which Paddock reports.
        LOG_LEVEL: "off",
      },
    },
  }),
});
