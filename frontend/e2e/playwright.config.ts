import { defineConfig } from "@playwright/test";

/** Background work of the browser that no story needs, and that costs time or the network. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The stories of the web UI, at a Paddock that runs already. See `support/environment.ts`. */
export default defineConfig({
  testDir: ".",
  outputDir: process.env.E2E_OUTPUT ?? "results",
  // Stories share one server, and some measure it.
  workers: 1,
  forbidOnly: process.env.CI !== undefined,
  timeout: 180_000,
  expect: { timeout: 20_000 },
  reporter: [["list"]],
  use: {
    baseURL: process.env.PADDOCK_URL,
    actionTimeout: 20_000,
    navigationTimeout: 30_000,
    viewport: { width: 1280, height: 860 },
    locale: "en-GB",
    trace: "retain-on-failure",
    screenshot: "only-on-failure",
    launchOptions: {
      executablePath: process.env.CHROME_BIN ?? "/usr/bin/chromium",
      args: FLAGS,
    },
  },
});
