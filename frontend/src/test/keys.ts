import { HttpResponse, http } from "msw";
import type { components } from "@/api/schema";
import { page, problem, server } from "@/test/server";

/** Answers the list and single keys. Returns the parameters of each list request. */
export function serveKeys(...keys: components["schemas"]["Credential"][]) {
  const lists: URLSearchParams[] = [];
  server.use(
    http.get("*/credentials", ({ request }) => {
      const search = new URL(request.url).searchParams;
      lists.push(search);
      return page(keys.filter(({ label }) => label.includes(search.get("q") ?? "")));
    }),
    http.get("*/credentials/:id", ({ params }) => {
      const key = keys.find(({ id }) => id === Number(params.id));
      return key === undefined
        ? problem(404, { kind: "not-found", title: "Not found" })
        : HttpResponse.json(key);
    }),
    http.get("*/models", () => HttpResponse.json({ backends: [], models: [] })),
  );
  return lists;
}

/** Records the bodies of requests that change something. */
export function record(method: "post" | "patch", path: string, answer: () => Response) {
  const bodies: unknown[] = [];
  server.use(
    http[method](path, async ({ request }) => {
      const text = await request.text();
      bodies.push(text === "" ? undefined : JSON.parse(text));
      return answer();
    }),
  );
  return bodies;
}

/** A success without a body. */
export const done = () => new HttpResponse(null, { status: 204 });
