"""The ollama SDK for Python: every method that the key of a user may call."""

import os

from transcript import (
    BASE_URL,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    IMAGE,
    KEY,
    MISSING_MODEL,
    SCHEMA,
    THINKING_MODEL,
    TOOL_MODEL,
    record,
    record_ps,
    record_refusal,
)

os.environ |= {"OLLAMA_HOST": BASE_URL, "OLLAMA_API_KEY": KEY}

import ollama  # noqa: E402, it reads the environment

OPTIONS = {"temperature": 0, "seed": 1, "num_predict": 8}
MESSAGES = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Why is the sky blue? <&> \u00e9\U0001f600"},
]


def weather(city: str) -> str:
    """Tells the weather.

    Args:
      city: The name of the city
    """
    return "sunny"


def chat(model=CHAT_MODEL, messages=MESSAGES, **arguments):
    return ollama.chat(model=model, messages=messages, options=OPTIONS, **arguments)


def chat_with_tools(**arguments):
    """A chat in which the model has called a tool twice, so that it calls the tool again."""
    question = {"role": "user", "content": "What is the weather in Oslo?"}
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    answer = {"role": "tool", "tool_name": "weather", "content": "sunny"}
    answered = [question, {"role": "assistant", "tool_calls": [call]}, answer]
    return ollama.chat(
        model=TOOL_MODEL,
        messages=[*answered, *answered, question],
        tools=[weather],
        options=OPTIONS | {"num_predict": 40},
        **arguments,
    )


def generate(**arguments):
    return ollama.generate(model=CHAT_MODEL, prompt="The sky is", options=OPTIONS, **arguments)


def embed(model=EMBEDDING_MODEL, input="hello", **arguments):
    return ollama.embed(model=model, input=input, **arguments)


record("list", ollama.list)
record("show", lambda: ollama.show(CHAT_MODEL))
record("show of an embedding model", lambda: ollama.show(EMBEDDING_MODEL))

record("chat", chat)
record("chat, streamed", lambda: chat(stream=True))
record("chat with logprobs", lambda: chat(logprobs=True, top_logprobs=2))
record("chat with logprobs, streamed", lambda: chat(logprobs=True, top_logprobs=2, stream=True))
record("chat in JSON", lambda: chat(format="json"))
record("chat by a schema", lambda: chat(format=SCHEMA))
record("chat by a schema, streamed", lambda: chat(format=SCHEMA, stream=True))
record("chat without thinking", lambda: chat(think=False))
record("chat that is kept in memory", lambda: chat(keep_alive="5m"))
record("chat that thinks", lambda: chat(model=THINKING_MODEL, think=True))
record("chat that thinks, streamed", lambda: chat(model=THINKING_MODEL, think=True, stream=True))
record("chat with tools", chat_with_tools)
record("chat with tools, streamed", lambda: chat_with_tools(stream=True))

record("generate", generate)
record("generate, streamed", lambda: generate(stream=True))
record("generate raw", lambda: generate(raw=True))
record("generate with a system prompt", lambda: generate(system="You are brief."))
record("generate with a template", lambda: generate(template="{{ .Prompt }}"))
record("generate by a schema", lambda: generate(format=SCHEMA))
record("generate with logprobs", lambda: generate(logprobs=True))

record("embed", embed)
record("embed many", lambda: embed(input=["hello", "good-bye"], truncate=True))
record("embed in fewer dimensions", lambda: embed(dimensions=8))
record("embeddings", lambda: ollama.embeddings(model=EMBEDDING_MODEL, prompt="hello"))

record_ps(ollama.ps)

refusals = {
    "chat with a missing model": lambda: chat(model=MISSING_MODEL),
    "chat with a missing model, streamed": lambda: list(chat(model=MISSING_MODEL, stream=True)),
    "chat with an image": lambda: chat(
        messages=[{"role": "user", "content": "What is it?", "images": [IMAGE]}]
    ),
    "chat with tools of a model without": lambda: chat(tools=[weather]),
    "chat with a model that cannot think": lambda: chat(think=True),
    "chat with an embedding model": lambda: chat(model=EMBEDDING_MODEL),
    "generate with an image": lambda: generate(images=[IMAGE]),
    "generate with a suffix": lambda: generate(suffix="blue"),
    "embed with a missing model": lambda: embed(MISSING_MODEL),
    "description of a missing model": lambda: ollama.show(MISSING_MODEL),
}
for call, function in refusals.items():
    record_refusal(call, ollama.ResponseError, function)
