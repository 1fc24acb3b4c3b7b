import "@testing-library/jest-dom/vitest";
import { cleanup } from "@testing-library/react";
import { afterAll, afterEach, beforeAll } from "vitest";
import { currentMessages, dismiss } from "@/lib/notify";
import { server } from "@/test/server";

beforeAll(() => server.listen({ onUnhandledRequest: "error" }));

afterEach(() => {
  cleanup();
  server.resetHandlers();
  for (const { id } of currentMessages()) dismiss(id);
});

afterAll(() => server.close());
