import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { send } from "@/api/client";

/** What can be exported, and the one thing of it that is; without, all that no object owns yet. */
export type ExportChoice =
  | { kind: "users" | "keys"; id?: number }
  | { kind: "models"; model?: string };

export interface Manifest {
  yaml: string;
  /** The name of the file. */
  name: string;
}

/** Kubernetes objects that declare what was made here. Without a namespace, they name none. */
export function manifestQuery(choice: ExportChoice, namespace: string) {
  const { kind, ...filter } = choice;
  const query = new URLSearchParams(namespace === "" ? {} : { namespace });
  for (const [name, value] of Object.entries(filter)) query.set(name, String(value));
  const path = `/manifests/${kind}?${query}`;
  return queryOptions({
    queryKey: ["manifests", path],
    queryFn: async ({ signal }): Promise<Manifest> => {
      const response = await send(path, { signal });
      const header = response.headers.get("Content-Disposition") ?? "";
      const name = /filename="([^"]+)"/.exec(header)?.[1] ?? `paddock-${kind}.yaml`;
      return { yaml: await response.text(), name };
    },
    placeholderData: keepPreviousData,
    // What is exported is what there is now.
    gcTime: 0,
  });
}
