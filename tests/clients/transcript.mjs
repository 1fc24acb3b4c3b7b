// Prints what a client receives from a server: one line of JSON for each call, as transcript.py does.
//
// A line has the `call`, the `result` that the SDK returned, and the `http` responses as they
// arrived. Values that differ between any two calls, such as ids and durations, are replaced. The
// client is configured by `BASE_URL` and `KEY` only. Import this file before the SDK.

export const { BASE_URL, KEY, CHAT_MODEL, TOOL_MODEL, THINKING_MODEL, EMBEDDING_MODEL } = process.env;
export const MISSING_MODEL = "no-such-model:1b";

// A GIF of one pixel.
export const IMAGE = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
export const SCHEMA = {
  type: "object",
  properties: { colour: { type: "string", enum: ["blue", "red"] } },
  required: ["colour"],
};
export const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    description: "Tells the weather.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

// Members with times and durations.
const VOLATILE = [
  "completed_at",
  "created",
  "created_at",
  "eval_duration",
  "expires_at",
  "load_duration",
  "prompt_eval_duration",
  "total_duration",
];
const ID = "(?:call|chatcmpl|cmpl|fc|msg|req|resp|rs)[-_]+[A-Za-z0-9_-]+";
const WHOLE_ID = new RegExp(`^${ID}$`);
const QUOTED_ID = new RegExp(`(["'])${ID}\\1`, "g");
const VOLATILE_MEMBER = new RegExp(`"(${VOLATILE.join("|")})":("[^"]*"|-?[0-9.]+)`, "g");
// The response headers that are compared.
const HEADERS = ["content-type", "x-paddock-ignored"];

const responses = [];
const send = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const response = await send(...request);
  const headers = {};
  for (const name of HEADERS) {
    if (response.headers.has(name)) headers[name] = response.headers.get(name);
  }
  responses.push({ status: response.status, headers, body: response.clone().text() });
  return response;
};

// Makes a call that must succeed, and prints its transcript.
export async function record(call, makeCall) {
  await write(call, await plain(await makeCall()));
}

// Makes a call that must be refused, and prints its transcript.
export async function recordRefusal(call, makeCall) {
  let result;
  try {
    result = await plain(await makeCall());
  } catch (error) {
    const status = error.status ?? error.status_code;
    // Any other error is a defect of the script.
    if (status === undefined) throw error;
    await write(call, { error: error.name, status, message: error.message });
    return;
  }
  throw new Error(`${call} was not refused: ${JSON.stringify(result)}`);
}

// Lists the models in memory, and prints them by name. Ollama lists models that expire in the same
// second in any order.
export async function recordPs(makeCall) {
  const loaded = await makeCall();
  const received = JSON.parse(await responses[0].body);
  for (const { models } of [loaded, received]) models.sort((a, b) => (a.name < b.name ? -1 : 1));
  responses[0].body = JSON.stringify(received);
  await write("ps", loaded);
}

async function write(call, result) {
  const http = [];
  for (const { body, ...head } of responses.splice(0)) http.push({ ...head, body: stableText(await body) });
  console.log(JSON.stringify({ call, result: stable(JSON.parse(JSON.stringify(result))), http }));
}

// Turns a stream into the list of its parts.
async function plain(value) {
  if (value?.[Symbol.asyncIterator] === undefined) return value;
  const parts = [];
  for await (const part of value) parts.push(part);
  return parts;
}

// Replaces the volatile values of a result.
function stable(value) {
  if (Array.isArray(value)) return value.map(stable);
  if (typeof value === "string") return WHOLE_ID.test(value) ? "*" : stableText(value);
  if (value === null || typeof value !== "object") return value;
  const members = Object.entries(value);
  return Object.fromEntries(
    members.map(([name, member]) => [name, VOLATILE.includes(name) && member !== null ? "*" : stable(member)]),
  );
}

// Replaces the volatile values of a text that contains JSON. Everything else stays as it is.
function stableText(text) {
  return text.replace(VOLATILE_MEMBER, '"$1":"*"').replace(QUOTED_ID, "$1*$1");
}
