import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import { tanstackRouter } from "@tanstack/router-plugin/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { budget } from "./build/budget.ts";
import { compress } from "./build/compress.ts";

/** The server that answers every request outside `/ui/` during development. */
const PADDOCK_URL = process.env.PADDOCK_URL ?? "http://127.0.0.1:8080";

const proxy = {
  // The browser's `Host` is kept: the server compares it with `Origin`.
  "^/(?!ui(/|$))": { target: PADDOCK_URL, changeOrigin: false },
};

/** The policy that Paddock sends with the UI, so that a preview fails where Paddock would. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
  "connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/** Parts that only a few pages need are loaded with these pages. */
const LIBRARIES = /node_modules\/@tanstack\/(?!.*(queriesObserver|useQueries|useBlocker)\.)/;
const SHARED =
  /src\/(api|components|lib)\/(?!(names|own-models|actors|numbers|csv|ModelField|Segments|FilterChip)\.)/;

export default defineConfig({
  base: "/ui/",
  plugins: [
    tanstackRouter({ autoCodeSplitting: process.env.VITEST === undefined }),
    react(),
    tailwindcss(),
    budget(),
    compress(),
  ],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  server: { proxy },
  preview: { proxy, headers: { "Content-Security-Policy": POLICY } },
  build: {
    // `light-dark()`, container queries and native nesting stay as they are.
    target: ["chrome125", "firefox128", "safari18"],
    modulePreload: { polyfill: false },
    // A data URL would need `data:` in more directives of the Content-Security-Policy.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        // Libraries that every page needs change less often than the pages.
        codeSplitting: {
          groups: [
            { name: "react", test: /node_modules\/(react|react-dom|scheduler)\// },
            { name: "tanstack", test: LIBRARIES },
            // The entry shows errors and messages with most of these, and every page with the rest.
            { name: "shared", test: SHARED, minShareCount: 2 },
          ],
        },
      },
    },
  },
  test: {
    environment: "happy-dom",
    environmentOptions: { happyDOM: { url: "http://paddock.test/ui/" } },
    setupFiles: ["./src/test/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}", "build/**/*.test.ts"],
    restoreMocks: true,
    testTimeout: 15_000,
  },
});
