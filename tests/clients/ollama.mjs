// The ollama SDK for JavaScript: every method that the key of a user may call.

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
  recordPs,
  recordRefusal,
} from "./transcript.mjs";
import { Ollama } from "ollama";

// This SDK sends OLLAMA_API_KEY to ollama.com only.
const ollama = new Ollama({ host: BASE_URL, headers: { Authorization: `Bearer ${KEY}` } });

const options = { temperature: 0, seed: 1, num_predict: 8 };
const messages = [
  { role: "system", content: "You are brief." },
  { role: "user", content: "Why is the sky blue? <&> \u00e9\u{1f600}" },
];
const chat = (request) => ollama.chat({ model: CHAT_MODEL, messages, options, ...request });
const generate = (request) => ollama.generate({ model: CHAT_MODEL, prompt: "The sky is", options, ...request });
const embed = (request) => ollama.embed({ model: EMBEDDING_MODEL, input: "hello", ...request });

// A chat in which the model has called a tool twice, so that it calls the tool again.
function chatWithTools(request) {
  const question = { role: "user", content: "What is the weather in Oslo?" };
  const call = { function: { name: "weather", arguments: { city: "Oslo" } } };
  const answered = [
    question,
    { role: "assistant", content: "", tool_calls: [call] },
    { role: "tool", tool_name: "weather", content: "sunny" },
  ];
  return chat({
    model: TOOL_MODEL,
    tools: [WEATHER],
    messages: [...answered, ...answered, question],
    options: { ...options, num_predict: 40 },
    ...request,
  });
}

await record("version", () => ollama.version());
await record("list", () => ollama.list());
await record("show", () => ollama.show({ model: CHAT_MODEL }));

await record("chat", () => chat());
await record("chat, streamed", () => chat({ stream: true }));
await record("chat with logprobs", () => chat({ logprobs: true, top_logprobs: 2 }));
await record("chat in JSON", () => chat({ format: "json" }));
await record("chat by a schema", () => chat({ format: SCHEMA }));
await record("chat that is kept in memory", () => chat({ keep_alive: "5m" }));
await record("chat that thinks", () => chat({ model: THINKING_MODEL, think: true }));
await record("chat that thinks, streamed", () => chat({ model: THINKING_MODEL, think: true, stream: true }));
await record("chat with tools", () => chatWithTools());
await record("chat with tools, streamed", () => chatWithTools({ stream: true }));

await record("generate", () => generate());
await record("generate, streamed", () => generate({ stream: true }));
await record("generate by a schema", () => generate({ format: SCHEMA }));
await record("generate with logprobs", () => generate({ logprobs: true }));

await record("embed", () => embed());
await record("embed many", () => embed({ input: ["hello", "good-bye"], truncate: true }));
await record("embeddings", () => ollama.embeddings({ model: EMBEDDING_MODEL, prompt: "hello" }));

await recordPs(() => ollama.ps());

const refusals = {
  "chat with a missing model": () => chat({ model: MISSING_MODEL }),
  "chat with a missing model, streamed": () => chat({ model: MISSING_MODEL, stream: true }),
  "chat with an image": () => chat({ messages: [{ role: "user", content: "What is it?", images: [IMAGE] }] }),
  "chat with tools of a model without": () => chat({ tools: [WEATHER] }),
  "chat with a model that cannot think": () => chat({ think: true }),
  "generate with an image": () => generate({ images: [IMAGE] }),
  "embed with a missing model": () => embed({ model: MISSING_MODEL }),
  "description of a missing model": () => ollama.show({ model: MISSING_MODEL }),
};
for (const [call, makeCall] of Object.entries(refusals)) await recordRefusal(call, makeCall);
