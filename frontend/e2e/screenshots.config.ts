import { defineConfig } from "@playwright/test";
import stories from "./playwright.config.ts";

/** Where the Paddock of the pictures answers, if none runs at `PADDOCK_URL`. */
const ADDRESS = "127.0.0.1:8089";

// The pictures show an installation with the admin of `paddock run`.
process.env.PADDOCK_ADMIN_EMAIL ??= "admin@example.com";
process.env.PADDOCK_ADMIN_PASSWORD ??= "admin";
process.env.CHAT_MODEL ??= "smollm2:135m";
process.env.EMBEDDING_MODEL ??= "all-minilm:l6";
const isRunning = process.env.PADDOCK_URL !== undefined;
process.env.PADDOCK_URL ??= `http://${ADDRESS}`;

/** Makes the pictures of the documentation: `make screenshots`. */
export default defineConfig({
  ...stories,
  testMatch: "screenshots.ts",
  use: { ...stories.use, baseURL: process.env.PADDOCK_URL },
  ...(!isRunning && {
    webServer: {
      // In development the first admin has a known password.
      command: `${process.env.PADDOCK_BIN ?? "paddock"} run --env dev`,
      url: `http://${ADDRESS}/readyz`,
      env: {
        LISTEN_ADDR: ADDRESS,
        DATABASE_URL: `sqlite:${process.env.DATABASE_FILE ?? "paddock.db"}`,
        RATE_LIMIT_PER_MINUTE: "1000000",
      },
    },
  }),
});
