// The openai SDK for JavaScript: chat completions, completions, responses, embeddings and models.

import {
  BASE_URL,
  CHAT_MODEL,
  EMBEDDING_MODEL,
  IMAGE,
  KEY,
  MISSING_MODEL,
  SCHEMA,
  THINKING_MODEL,
  TOOL_MODEL,
  WEATHER,
  record,
  recordRefusal,
} from "./transcript.mjs";
import OpenAI from "openai";

Object.assign(process.env, { OPENAI_BASE_URL: `${BASE_URL}/v1`, OPENAI_API_KEY: KEY });
const client = new OpenAI();

const messages = [
  { role: "system", content: "You are brief." },
  { role: "user", content: "Why is the sky blue? <&> \u00e9\u{1f600}" },
];
const question = { role: "user", content: "What is the weather in Oslo?" };
const city = '{"city":"Oslo"}';

const sampling = { temperature: 0, seed: 1, max_tokens: 8 };
const chat = (request) => client.chat.completions.create({ model: CHAT_MODEL, messages, ...sampling, ...request });
const complete = (request) =>
  client.completions.create({ model: CHAT_MODEL, prompt: "The sky is", ...sampling, ...request });
const respond = (request) =>
  client.responses.create({
    model: CHAT_MODEL,
    input: "Why is the sky blue?",
    temperature: 0,
    max_output_tokens: 8,
    ...request,
  });
const embed = (request) => client.embeddings.create({ model: EMBEDDING_MODEL, input: "hello", ...request });

// A chat in which the model has called a tool twice, so that it calls the tool again.
function chatWithTools(request) {
  const call = { id: "call_1", type: "function", function: { name: "weather", arguments: city } };
  const answered = [
    question,
    { role: "assistant", tool_calls: [call] },
    { role: "tool", tool_call_id: "call_1", content: "sunny" },
  ];
  const conversation = [...answered, ...answered, question];
  return chat({ model: TOOL_MODEL, messages: conversation, tools: [WEATHER], max_tokens: 40, ...request });
}

// The same conversation.
function respondWithTools(request) {
  const answered = [
    question,
    { type: "function_call", call_id: "call_1", name: "weather", arguments: city },
    { type: "function_call_output", call_id: "call_1", output: "sunny" },
  ];
  const input = [...answered, ...answered, question];
  const tools = [{ type: "function", strict: false, ...WEATHER.function }];
  return respond({ model: TOOL_MODEL, input, tools, max_output_tokens: 40, ...request });
}

const bySchema = { type: "json_schema", json_schema: { name: "sky", schema: SCHEMA } };
const image = { type: "image_url", image_url: { url: `data:image/gif;base64,${IMAGE}` } };

await record("models", () => client.models.list());
await record("model", () => client.models.retrieve(CHAT_MODEL));

await record("chat", () => chat());
await record("chat, streamed", () => chat({ stream: true }));
await record("chat, streamed with usage", () => chat({ stream: true, stream_options: { include_usage: true } }));
await record("chat with logprobs", () => chat({ logprobs: true, top_logprobs: 2 }));
await record("chat in JSON", () => chat({ response_format: { type: "json_object" } }));
await record("chat by a schema", () => chat({ response_format: bySchema }));
await record("chat that thinks", () => chat({ model: THINKING_MODEL, reasoning_effort: "low" }));
await record("chat that thinks, streamed", () =>
  chat({ model: THINKING_MODEL, reasoning_effort: "low", stream: true }),
);
await record("chat with tools", () => chatWithTools());
await record("chat with tools, streamed", () => chatWithTools({ stream: true }));

await record("completion", () => complete());
await record("completion, streamed", () => complete({ stream: true }));

await record("embedding", () => embed());
await record("embeddings", () => embed({ input: ["hello", "good-bye"], encoding_format: "float" }));

await record("response", () => respond());
await record("response, streamed", () => respond({ stream: true }));
await record("response with instructions", () => respond({ input: messages, instructions: "You are brief." }));
await record("response that thinks, streamed", () =>
  respond({ model: THINKING_MODEL, reasoning: { effort: "low" }, stream: true }),
);
await record("response with tools", () => respondWithTools());
await record("response with tools, streamed", () => respondWithTools({ stream: true }));

const refusals = {
  "a missing model": () => client.models.retrieve(MISSING_MODEL),
  "chat with a missing model": () => chat({ model: MISSING_MODEL }),
  "chat with a missing model, streamed": () => chat({ model: MISSING_MODEL, stream: true }),
  "chat with an image": () => chat({ messages: [{ role: "user", content: [image] }] }),
  "chat with tools of a model without": () => chat({ tools: [WEATHER] }),
  "completion with a missing model": () => complete({ model: MISSING_MODEL }),
  "embedding with a missing model": () => embed({ model: MISSING_MODEL }),
  "response with a missing model": () => respond({ model: MISSING_MODEL }),
};
for (const [call, makeCall] of Object.entries(refusals)) await recordRefusal(call, makeCall);
