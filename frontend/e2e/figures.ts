import { loadavg } from "node:os";
import type { Browser, Page, TestInfo } from "@playwright/test";
import type { Account } from "./support/api.ts";
import { admin, chatModel } from "./support/environment.ts";
import { ADMIN_PATHS, measureLoad, observeLoads, USER_PATHS } from "./support/loads.ts";
import { pageThrough, sortByEachColumn, waitForAnswer } from "./support/paging.ts";
import { type Figure, Report } from "./support/report.ts";
import { serveScriptedOllama } from "./support/scripted-ollama.ts";
import { ask } from "./support/streams.ts";
import { expect, signIn, test } from "./support/test.ts";
import { type Frames, traceFrames } from "./support/trace.ts";
import { settle } from "./support/views.ts";

/** How often each page is loaded. The medians are reported. */
const LOADS = 3;
const ROWS = 10_000;
const TOKENS = 20_000;
/** The budgets of a frame, in milliseconds: of the longest one, and of 95 in 100 during an answer. */
const MAX_FRAME = 50;
const CHAT_FRAME = 16;

const report = new Report();
const loadBefore = loadavg();

let ollama: Awaited<ReturnType<typeof serveScriptedOllama>>;

test.beforeAll(async ({ api }) => {
  const port = Number(process.env.SCRIPTED_OLLAMA_PORT);
  ollama = await serveScriptedOllama(port, chatModel, TOKENS);
  // Paddock was started before it.
  await expect.poll(async () => (await api.send("GET", "/api/tags")).status).toBe(200);
});

test.afterAll(({ browser }) => {
  ollama.close();
  const load = `${loadBefore[0]?.toFixed(1)} before, ${loadavg()[0]?.toFixed(1)} after`;
  process.stdout.write(
    `\nChromium ${browser.version()}, load average ${load}\n\n${report.text()}\n`,
  );
});

test("the loads of pages", async ({ browser, api }, info) => {
  const user = await api.createUser();
  const measure = async (path: string, as?: Person) => {
    const page = await openBrowser(browser, info, as);
    const load = await measureLoad(page, path);
    await page.context().close();
    return load;
  };
  const paths: [string, Person | undefined][] = [
    ["sign-in", undefined],
    ...ADMIN_PATHS.map((path): [string, Person] => [path, admin]),
    ...USER_PATHS.map((path): [string, Person] => [path, user]),
  ];
  for (const [path, as] of paths) {
    const loads = [];
    for (let count = 0; count < LOADS; count += 1) loads.push(await measure(path, as));
    report.add(path, [
      { name: "first interaction", unit: "ms", budget: 1000, value: median(loads, "interactive") },
      { name: "layout shift", unit: "", budget: 0, value: Math.max(...loads.map((l) => l.cls)) },
      { name: "blocked", unit: "ms", budget: 100, value: median(loads, "tbt") },
      { name: "scripts", unit: "kB", value: median(loads, "scripts") },
    ]);
  }
});

test("the frames of long lists", async ({ browser }, info) => {
  const page = await openBrowser(browser, info, admin);
  await openTable(page, "audit?limit=500");
  const events = await traceFrames(browser, page, () => pageThrough(page, "Older", ROWS));
  report.add(`audit, ${ROWS} rows`, framesOf(events));
  await openTable(page, "keys");
  const keys = await traceFrames(browser, page, () => pageThrough(page, "Next", ROWS));
  report.add(`keys, ${ROWS} rows`, framesOf(keys));
  await openTable(page, "usage?by=key");
  let slowest = 0;
  const usage = await traceFrames(browser, page, async () => {
    slowest = await sortByEachColumn(page);
  });
  report.add(`usage, ${ROWS} rows sorted`, [
    { name: "until sorted", unit: "ms", value: slowest },
    ...framesOf(usage),
  ]);
  await page.context().close();
});

test("the frames of a long answer", async ({ browser }, info) => {
  const page = await openBrowser(browser, info, admin);
  await page.goto("/ui/chat");
  await page.getByRole("combobox", { name: "Model" }).selectOption(chatModel);
  const frames = await traceFrames(browser, page, async () => {
    await ask(page, "Tell me everything.");
    await waitForAnswer(page);
  });
  const count = TOKENS.toLocaleString("en-GB");
  await expect(page.getByText(`${count} tokens in the answer`)).toBeVisible();
  report.add(`chat, ${TOKENS} tokens`, [
    percentile("95th percentile", frames.frames.elapsed),
    percentile("95th percentile, processor", frames.frames.processor),
    ...framesOf(frames),
  ]);
  await page.context().close();
});

type Person = Pick<Account, "email" | "password">;

/** A browser that has cached nothing. */
async function openBrowser(browser: Browser, info: TestInfo, as?: Person): Promise<Page> {
  const context = await browser.newContext({
    baseURL: info.project.use.baseURL ?? "",
    viewport: info.project.use.viewport ?? null,
  });
  if (as !== undefined) await signIn(context, as);
  await observeLoads(context);
  return context.newPage();
}

async function openTable(page: Page, path: string): Promise<void> {
  await page.goto(`/ui/${path}`);
  await page.getByRole("main").getByRole("table").first().waitFor();
  await settle(page);
}

/** By the clock, and in processor time: a busy machine makes only the former longer. */
function framesOf({ frames, tasks }: Frames): Figure[] {
  const last = (name: string, values: number[]): Figure => {
    return { name, unit: "ms", budget: MAX_FRAME, value: values.at(-1) ?? 0 };
  };
  const isLong = (frame: number) => frame > MAX_FRAME;
  return [
    last("longest frame", frames.elapsed),
    last("longest frame, processor", frames.processor),
    last("longest task", tasks.elapsed),
    last("longest task, processor", tasks.processor),
    { name: "frames", unit: "", value: frames.elapsed.length },
    { name: `frames over ${MAX_FRAME} ms`, unit: "", value: frames.elapsed.filter(isLong).length },
  ];
}

function percentile(name: string, frames: readonly number[]): Figure {
  const value = frames[Math.floor(frames.length * 0.95)] ?? 0;
  return { name, unit: "ms", budget: CHAT_FRAME, value };
}

function median<Name extends string>(items: readonly Record<Name, number>[], name: Name): number {
  const values = items.map((item) => item[name]).sort((one, other) => one - other);
  return values[Math.floor(values.length / 2)] ?? 0;
}
