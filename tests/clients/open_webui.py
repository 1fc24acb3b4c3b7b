"""The requests of Open WebUI, to a connection of the kind Ollama and to one of the kind OpenAI.

Open WebUI is a server with a database, so its requests are repeated here instead of running it.
"""

import httpx
from transcript import (
    BASE_URL,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    KEY,
    MISSING_MODEL,
    SCHEMA,
    THINKING_MODEL,
    TOOL_MODEL,
    record,
    record_ps,
)

# With ENABLE_FORWARD_USER_INFO_HEADERS, each request names the user.
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "Content-Type": "application/json",
    "X-OpenWebUI-User-Name": "Ada%20Lovelace",
    "X-OpenWebUI-User-Id": "0b1f6b6e-0000-4000-8000-000000000000",
    "X-OpenWebUI-User-Email": "ada@example.com",
    "X-OpenWebUI-User-Role": "user",
    "X-OpenWebUI-Chat-Id": "0b1f6b6e-0000-4000-8000-000000000001",
}
QUESTION = {"role": "user", "content": "Why is the sky blue?"}
SAMPLING = {"temperature": 0, "seed": 1, "num_predict": 8}
OPENAI_SAMPLING = {"temperature": 0, "seed": 1, "max_tokens": 8}
# What its settings for advanced users add.
ADVANCED = {"num_ctx": 4096, "num_batch": 512, "num_gpu": 0, "use_mmap": True, "num_thread": 2}
MIROSTAT = {"mirostat": 0, "mirostat_eta": 0.1, "mirostat_tau": 5.0, "num_keep": 24, "repeat_last_n": 64}
FUNCTION = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [{"type": "function", "function": FUNCTION}]
CALL = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
WEATHER = {"role": "user", "content": "What is the weather in Oslo?"}
ANSWERED = [
    WEATHER,
    {"role": "assistant", "tool_calls": [CALL], "content": ""},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]
# The model has called a tool twice, so that it calls the tool again.
CALLED = [*ANSWERED, *ANSWERED, WEATHER]
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "sky", "schema": SCHEMA}}


def chat(**fields):
    return {"model": CHAT_MODEL, "messages": [QUESTION], "stream": False, "options": SAMPLING, **fields}


def completion(**fields):
    return {"model": CHAT_MODEL, "messages": [QUESTION], "stream": False, **OPENAI_SAMPLING, **fields}


USAGE = {"stream": True, "stream_options": {"include_usage": True}}

# The name of a call, the path, and the body of a POST.
REQUESTS = [
    ("Ollama: verify", "/api/version", None),
    ("Ollama: list", "/api/tags", None),
    ("Ollama: show", "/api/show", {"name": CHAT_MODEL, "model": CHAT_MODEL}),
    ("Ollama: chat, streamed", "/api/chat", chat(stream=True)),
    ("Ollama: title of a chat", "/api/chat", chat()),
    ("Ollama: chat with mirostat", "/api/chat", chat(options={**SAMPLING, **MIROSTAT})),
    ("Ollama: chat by a schema", "/api/chat", chat(format=SCHEMA)),
    ("Ollama: chat that thinks, streamed", "/api/chat", chat(model=THINKING_MODEL, think=True, stream=True)),
    (
        "Ollama: chat with tools",
        "/api/chat",
        chat(model=TOOL_MODEL, messages=CALLED, tools=TOOLS, options={**SAMPLING, "num_predict": 40}),
    ),
    ("Ollama: chat with metadata", "/api/chat", chat(metadata={"chat_id": "1"}, template="")),
    ("Ollama: generate", "/api/generate", {"model": CHAT_MODEL, "prompt": "The sky is", "options": SAMPLING}),
    ("Ollama: embed", "/api/embed", {"input": ["hello", "good-bye"], "model": EMBEDDING_MODEL}),
    ("Ollama: embed and prompt", "/api/embed", {"model": EMBEDDING_MODEL, "input": ["hello"], "prompt": "hello"}),
    ("Ollama: embeddings", "/api/embeddings", {"model": EMBEDDING_MODEL, "prompt": "hello"}),
    ("Ollama: completion", "/v1/completions", {"model": CHAT_MODEL, "prompt": "The sky is", **OPENAI_SAMPLING}),
    ("Ollama: chat completion", "/v1/chat/completions", completion()),
    ("Ollama: chat with a missing model", "/api/chat", chat(model=MISSING_MODEL)),
    ("OpenAI: verify", "/v1/models", None),
    ("OpenAI: chat, streamed", "/v1/chat/completions", completion(**USAGE)),
    ("OpenAI: title of a chat", "/v1/chat/completions", completion()),
    ("OpenAI: chat by a schema", "/v1/chat/completions", completion(response_format=BY_SCHEMA)),
    (
        "OpenAI: chat that thinks, streamed",
        "/v1/chat/completions",
        completion(model=THINKING_MODEL, reasoning={"effort": "low"}, **USAGE),
    ),
    ("OpenAI: chat with tools", "/v1/chat/completions", completion(model=TOOL_MODEL, tools=TOOLS, tool_choice="auto")),
    (
        "OpenAI: chat with advanced parameters",
        "/v1/chat/completions",
        completion(logit_bias={"1": 1}, min_p=0.1, max_completion_tokens=8, user="ada", top_p=0.9, **USAGE),
    ),
    ("OpenAI: embeddings", "/v1/embeddings", {"input": ["hello", "good-bye"], "model": EMBEDDING_MODEL}),
    ("OpenAI: chat with a missing model", "/v1/chat/completions", completion(model=MISSING_MODEL, **USAGE)),
    # The last, because Ollama loads the model anew for it.
    ("Ollama: chat with advanced parameters", "/api/chat", chat(options={**SAMPLING, **ADVANCED}, keep_alive="5m")),
]

client = httpx.Client(base_url=BASE_URL, headers=HEADERS, timeout=None)


def send(path, body):
    response = client.get(path) if body is None else client.post(path, json=body)
    return response.status_code


for call, path, body in REQUESTS:
    record(call, lambda: send(path, body))
record_ps(lambda: client.get("/api/ps").json())
