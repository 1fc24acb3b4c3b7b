import { gzipSync } from "node:zlib";
import type { Plugin, Rolldown } from "vite";

/** The largest sizes of what a browser loads, in kB of gzip. */
const BUDGET_KB = { entry: 150, css: 12, chat: 70, route: 15 };

interface Measured {
  name: string;
  kb: number;
  limit: number;
}

/** Prints the compressed size of the entry, the style sheets and each route; fails beyond a budget. */
export function budget(): Plugin {
  return {
    name: "paddock:budget",
    apply: "build",
    writeBundle(_options, bundle) {
      const measured = measure(bundle);
      for (const { name, kb, limit } of measured) {
        this.info(`${kb.toFixed(1).padStart(6)} of ${limit} kB gzip  ${name}`);
      }
      const over = measured.filter(({ kb, limit }) => kb > limit);
      if (over.length > 0) {
        const names = over.map(({ name, kb, limit }) => `${name}: ${kb.toFixed(1)} of ${limit} kB`);
        this.error(`Over the size budget: ${names.join(", ")}`);
      }
    },
  };
}

function measure(bundle: Rolldown.OutputBundle): Measured[] {
  const outputs = Object.values(bundle);
  const chunks = outputs.filter((output) => output.type === "chunk");
  const entry = chunks.find((chunk) => chunk.isEntry);
  const initial = entry === undefined ? new Set<string>() : closure(entry.fileName, bundle);
  const sizeOf = (names: Iterable<string>) => {
    let bytes = 0;
    for (const name of names) {
      const output = bundle[name];
      if (output?.type === "chunk") bytes += gzipSync(output.code).length;
    }
    return bytes / 1000;
  };
  const routes = chunks
    .filter((chunk) => chunk.isDynamicEntry && !initial.has(chunk.fileName))
    .map((chunk) => {
      const own = [...closure(chunk.fileName, bundle)].filter((name) => !initial.has(name));
      const limit = /chat|markdown/i.test(chunk.name) ? BUDGET_KB.chat : BUDGET_KB.route;
      return { name: `route ${chunk.name}`, kb: sizeOf(own), limit };
    });
  const styles = outputs.filter((output) => output.fileName.endsWith(".css"));
  const css = styles.reduce(
    (bytes, output) => bytes + ("source" in output ? gzipSync(output.source).length : 0),
    0,
  );
  return [
    { name: "entry", kb: sizeOf(initial), limit: BUDGET_KB.entry },
    { name: "css", kb: css / 1000, limit: BUDGET_KB.css },
    ...routes,
  ];
}

/** The chunk and every chunk that it imports statically. */
function closure(fileName: string, bundle: Rolldown.OutputBundle, found = new Set<string>()) {
  const output = bundle[fileName];
  if (found.has(fileName) || output?.type !== "chunk") return found;
  found.add(fileName);
  for (const imported of output.imports) closure(imported, bundle, found);
  return found;
}
