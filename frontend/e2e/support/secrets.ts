import { expect, type Page } from "@playwright/test";
import type { Watch } from "./watch.ts";

/** Asserts that a secret is neither shown nor kept where a later reader could find it. */
export async function expectNoTrace(page: Page, watch: Watch, secret: string): Promise<void> {
  await expect(page.getByText(secret)).toHaveCount(0);
  const traces = await page.evaluate(findTraces, secret);
  expect(traces).toEqual([]);
  expect(watch.urls().filter((url) => url.includes(secret))).toEqual([]);
  expect(watch.consoleLines().filter((line) => line.includes(secret))).toEqual([]);
}

/** Runs in the page. Returns the names of the places that contain the secret. */
async function findTraces(secret: string): Promise<string[]> {
  /** A node of React's tree, as far as it is read here. */
  interface Fiber {
    child: Fiber | null;
    sibling: Fiber | null;
    memoizedProps: { client?: { getQueryCache?: unknown } } | null;
  }
  interface Client {
    getQueryCache(): { getAll(): { queryKey: unknown; state: unknown }[] };
    getMutationCache(): { getAll(): { state: unknown }[] };
  }

  function findClient(fiber: Fiber | null): Client | undefined {
    if (fiber === null) return undefined;
    const client = fiber.memoizedProps?.client;
    if (client?.getQueryCache !== undefined) return client as Client;
    return findClient(fiber.child) ?? findClient(fiber.sibling);
  }
  function rootFiber(): Fiber {
    for (const element of [document, ...document.querySelectorAll("body, body > *")]) {
      const name = Object.keys(element).find((key) => key.startsWith("__reactContainer$"));
      if (name !== undefined) return (element as unknown as Record<string, Fiber>)[name] as Fiber;
    }
    throw new Error("the page has no React application");
  }

  const client = findClient(rootFiber());
  if (client === undefined) throw new Error("the page has no query client");
  const caches = [...client.getQueryCache().getAll(), ...client.getMutationCache().getAll()].map(
    ({ state }) => state,
  );
  const databases = await indexedDB.databases();
  const places: Record<string, unknown> = {
    url: location.href,
    history: history.state,
    localStorage: { ...localStorage },
    sessionStorage: { ...sessionStorage },
    cookies: document.cookie,
    databases,
    caches: await caches_(),
    queries: caches,
    requests: performance.getEntriesByType("resource").map(({ name }) => name),
    html: document.documentElement.outerHTML,
    fields: [...document.querySelectorAll("input, textarea")].map(
      (field) => (field as HTMLInputElement).value,
    ),
  };
  async function caches_(): Promise<string[]> {
    // Exists on HTTPS and localhost only.
    return "caches" in globalThis ? globalThis.caches.keys() : [];
  }
  return Object.entries(places).flatMap(([name, content]) =>
    JSON.stringify(content)?.includes(secret) ? [name] : [],
  );
}
