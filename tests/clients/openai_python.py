"""The openai SDK for Python: chat completions, completions, responses, embeddings and models."""

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
    record_refusal,
)

os.environ |= {"OPENAI_BASE_URL": f"{BASE_URL}/v1", "OPENAI_API_KEY": KEY}

import openai  # noqa: E402, it reads the environment

client = openai.OpenAI()

MESSAGES = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Why is the sky blue? <&> \u00e9\U0001f600"},
]
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = {"role": "user", "content": "What is the weather in Oslo?"}
ARGUMENTS = '{"city":"Oslo"}'
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "sky", "schema": SCHEMA}}
RESPONSE_SCHEMA = {"type": "json_schema", "name": "sky", "schema": SCHEMA}
LITTLE = {"effort": "low"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
PENALTIES = {"frequency_penalty": 0.5, "presence_penalty": 0.5}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
WITHOUT_USAGE = {"stream": True, "stream_options": {"include_usage": False}}


def chat(model=CHAT_MODEL, messages=MESSAGES, max_tokens=8, **arguments):
    return client.chat.completions.create(
        model=model, messages=messages, max_tokens=max_tokens, temperature=0, seed=1, **arguments
    )


def chat_with_tools(**arguments):
    """A chat in which the model has called a tool twice, so that it calls the tool again."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    answered = [QUESTION, {"role": "assistant", "tool_calls": [call]}, answer]
    tools = [{"type": "function", "function": WEATHER}]
    return chat(TOOL_MODEL, [*answered, *answered, QUESTION], 40, tools=tools, tool_choice="auto", **arguments)


def complete(model=CHAT_MODEL, **arguments):
    return client.completions.create(
        model=model, prompt="The sky is", max_tokens=8, temperature=0, seed=1, **arguments
    )


def respond(model=CHAT_MODEL, input="Why is the sky blue?", max_output_tokens=8, **arguments):
    return client.responses.create(
        model=model, input=input, max_output_tokens=max_output_tokens, temperature=0, **arguments
    )


def respond_with_tools(**arguments):
    """The same conversation as `chat_with_tools`."""
    answered = [
        QUESTION,
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ]
    tools = [{"type": "function", "strict": False, **WEATHER}]
    return respond(TOOL_MODEL, [*answered, *answered, QUESTION], 40, tools=tools, **arguments)


def respond_as_codex():
    """A request in the form that Codex sends."""
    return respond_with_tools(
        instructions="You are brief.",
        tool_choice="auto",
        parallel_tool_calls=False,
        store=False,
        stream=True,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="a-conversation",
    )


def embed(model=EMBEDDING_MODEL, input="hello", **arguments):
    return client.embeddings.create(model=model, input=input, **arguments)


record("models", lambda: list(client.models.list()))
record("model", lambda: client.models.retrieve(CHAT_MODEL))

record("chat", chat)
record("chat, streamed", lambda: chat(stream=True))
record("chat, streamed with usage", lambda: chat(**WITH_USAGE))
record("chat, streamed without usage", lambda: chat(**WITHOUT_USAGE))
record("chat with logprobs", lambda: chat(logprobs=True, top_logprobs=2))
record("chat with logprobs, streamed", lambda: chat(logprobs=True, top_logprobs=2, stream=True))
record("chat with parts", lambda: chat(messages=[PARTS]))
record("chat that stops early", lambda: chat(stop=["blue"], top_p=0.9, **PENALTIES))
record("chat in JSON", lambda: chat(response_format={"type": "json_object"}))
record("chat by a schema", lambda: chat(response_format=BY_SCHEMA))
record("chat by a schema, streamed", lambda: chat(response_format=BY_SCHEMA, stream=True))
record("chat that thinks", lambda: chat(THINKING_MODEL, reasoning_effort="low"))
record("chat that thinks, streamed", lambda: chat(THINKING_MODEL, reasoning_effort="low", stream=True))
record("chat without thinking", lambda: chat(reasoning_effort="none"))
record("chat with tools", chat_with_tools)
record("chat with tools, streamed", lambda: chat_with_tools(stream=True))

record("completion", complete)
record("completion, streamed", lambda: complete(stream=True))
record("completion, streamed with usage", lambda: complete(**WITH_USAGE))
record("completion with logprobs", lambda: complete(logprobs=1))

record("embedding", embed)
record("embeddings", lambda: embed(input=["hello", "good-bye"]))
record("embedding in numbers", lambda: embed(encoding_format="float"))
record("embedding in fewer dimensions", lambda: embed(dimensions=8))

record("response", respond)
record("response, streamed", lambda: respond(stream=True))
record("response to messages", lambda: respond(input=MESSAGES, instructions="You are brief."))
record("response by a schema", lambda: respond(text={"format": RESPONSE_SCHEMA}))
record("response that thinks", lambda: respond(THINKING_MODEL, reasoning=LITTLE))
record("response that thinks, streamed", lambda: respond(THINKING_MODEL, reasoning=LITTLE, stream=True))
record("response with tools", respond_with_tools)
record("response with tools, streamed", lambda: respond_with_tools(stream=True))
record("response as Codex requests it", respond_as_codex)

image = {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{IMAGE}"}}
refusals = {
    "a missing model": lambda: client.models.retrieve(MISSING_MODEL),
    "chat with a missing model": lambda: chat(MISSING_MODEL),
    "chat with a missing model, streamed": lambda: chat(MISSING_MODEL, stream=True),
    "chat with an image": lambda: chat(messages=[{"role": "user", "content": [image]}]),
    "chat with tools of a model without": lambda: chat(tools=[{"type": "function", "function": WEATHER}]),
    "chat with a model that cannot think": lambda: chat(reasoning_effort="low"),
    "chat without messages": lambda: chat(messages=[]),
    "completion with a missing model": lambda: complete(MISSING_MODEL),
    "completion with a suffix": lambda: complete(suffix="blue"),
    "embedding with a missing model": lambda: embed(MISSING_MODEL),
    "response with a missing model": lambda: respond(MISSING_MODEL),
    "response with a missing model, streamed": lambda: respond(MISSING_MODEL, stream=True),
}
for call, function in refusals.items():
    record_refusal(call, openai.APIStatusError, function)
