import type { Browser, Page } from "@playwright/test";

const CATEGORIES = ["disabled-by-default-devtools.timeline", "devtools.timeline"];

/** What the main thread did while something happened, in milliseconds. */
export interface Frames {
  /** The work for each frame, the least first. */
  frames: Work;
  /** Each task, the shortest first. */
  tasks: Work;
}

/** The same by two clocks. The difference is the time in which other threads had the processors. */
interface Work {
  elapsed: number[];
  processor: number[];
}

interface TraceEvent {
  name: string;
  /** The phase: `b` is the begin of an interval. */
  ph: string;
  pid: number;
  tid: number;
  /** In microseconds, like the durations. */
  ts: number;
  dur?: number;
  /** The processor time. */
  tdur?: number;
  args?: { name?: string };
}

/** Does something while the browser records what its main thread does. */
export async function traceFrames(
  browser: Browser,
  page: Page,
  act: () => Promise<void>,
): Promise<Frames> {
  await browser.startTracing(page, { categories: CATEGORIES });
  await act();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  return framesOf(traceEvents);
}

/** A frame ends with the task that renders it. Its work is all tasks since the frame before. */
function framesOf(events: readonly TraceEvent[]): Frames {
  const thread = busiestMainThread(events);
  const own = events.filter((event) => threadOf(event) === thread);
  const tasks = own.filter(isTask).sort((one, other) => one.ts - other.ts);
  const begins = own
    .filter(({ name, ph }) => name === "AnimationFrame::Render" && ph === "b")
    .map(({ ts }) => ts)
    .sort((one, other) => one - other);
  return {
    frames: byBothClocks((clock) => workOf(tasks, begins, clock)),
    tasks: byBothClocks((clock) => tasks.map((task) => (task[clock] ?? 0) / 1000)),
  };
}

type Clock = "dur" | "tdur";

function byBothClocks(read: (clock: Clock) => number[]): Work {
  const sorted = (clock: Clock) => read(clock).sort((one, other) => one - other);
  return { elapsed: sorted("dur"), processor: sorted("tdur") };
}

function workOf(tasks: readonly TraceEvent[], begins: readonly number[], clock: Clock): number[] {
  const work: number[] = [];
  let next = 0;
  let sum = 0;
  for (const task of tasks) {
    sum += (task[clock] ?? 0) / 1000;
    const before = next;
    while ((begins[next] ?? Number.POSITIVE_INFINITY) <= task.ts + (task.dur ?? 0)) next += 1;
    if (next === before) continue;
    work.push(sum);
    sum = 0;
  }
  return work;
}

/** A browser has one renderer for each site, and more in reserve. */
function busiestMainThread(events: readonly TraceEvent[]): string {
  const work = new Map<string, number>();
  for (const event of events) {
    if (event.name === "thread_name" && event.args?.name === "CrRendererMain")
      work.set(threadOf(event), 0);
  }
  for (const event of events) {
    const former = work.get(threadOf(event));
    if (former !== undefined && isTask(event)) work.set(threadOf(event), former + (event.dur ?? 0));
  }
  const [busiest] = [...work].sort(([, one], [, other]) => other - one);
  if (busiest === undefined) throw new Error("the trace has no main thread");
  return busiest[0];
}

const threadOf = ({ pid, tid }: TraceEvent) => `${pid}/${tid}`;
const isTask = ({ name }: TraceEvent) => name === "RunTask";
