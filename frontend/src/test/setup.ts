import "@testing-library/jest-dom/vitest";
import { cleanup, configure } from "@testing-library/react";
import { afterAll, afterEach, beforeAll } from "vitest";
import { currentMessages, dismiss } from "@/lib/notify";
import { server } from "@/test/server";

// A busy machine takes longer than a second for the first page of a file.
configure({ asyncUtilTimeout: 5_000 });

beforeAll(() => server.listen({ onUnhandledRequest: "error" }));

afterEach(() => {
  cleanup();
  server.resetHandlers();
  for (const { id } of currentMessages()) dismiss(id);
});

afterAll(() => server.close());
