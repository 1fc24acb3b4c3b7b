"""The anthropic SDK for Python: messages, and the form in which Claude Code sends them."""

import os

from transcript import (
    BASE_URL,
    CHAT_MODEL,
    IMAGE,
    KEY,
    MISSING_MODEL,
    THINKING_MODEL,
    TOOL_MODEL,
    record,
    record_refusal,
)

os.environ |= {"ANTHROPIC_BASE_URL": BASE_URL, "ANTHROPIC_API_KEY": KEY}

import anthropic  # noqa: E402, it reads the environment

client = anthropic.Anthropic()

MESSAGES = [{"role": "user", "content": "Why is the sky blue? <&> \u00e9\U0001f600"}]
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = {"role": "user", "content": "What is the weather in Oslo?"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
ANSWER = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
ANSWERED = [QUESTION, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [ANSWER]}]
# The model has called a tool twice, so that it calls the tool again.
TOOL_MESSAGES = [*ANSWERED, *ANSWERED, QUESTION]
BLOCKS = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
SAMPLING = {"top_p": 0.9, "top_k": 20}
THINKING = {"type": "enabled", "budget_tokens": 1024}


def request(model=CHAT_MODEL, messages=MESSAGES, max_tokens=8, sampling=None, **arguments):
    """The arguments of a request. The SDK has none for sampling."""
    sampling = {"temperature": 0, **(sampling or {})}
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "extra_body": sampling, **arguments}


def create(*arguments, **named):
    return client.messages.create(**request(*arguments, **named))


def stream(*arguments, **named):
    """The events as the SDK derives them, and the message that it assembles."""
    with client.messages.stream(**request(*arguments, **named)) as events:
        return [*events, events.get_final_message()]


def create_with_tools(**arguments):
    return create(TOOL_MODEL, TOOL_MESSAGES, 40, tools=[WEATHER], tool_choice={"type": "auto"}, **arguments)


def stream_as_claude_code():
    """A request in the form that Claude Code sends: a bearer token, beta features, cached blocks."""
    bearer = anthropic.Anthropic(api_key=None, auth_token=KEY)
    cached = {"cache_control": {"type": "ephemeral"}}
    return bearer.beta.messages.create(
        model=TOOL_MODEL,
        max_tokens=8,
        extra_body={"temperature": 0},
        stream=True,
        betas=["claude-code-20250219", "interleaved-thinking-2025-05-14"],
        metadata={"user_id": "a-session"},
        system=[{"type": "text", "text": "You are brief.", **cached}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?", **cached}]}],
        tools=[WEATHER],
    )


record("message", create)
record("message, streamed", stream)
record("message, streamed in raw events", lambda: create(stream=True))
record("message with a system prompt", lambda: create(system="You are brief."))
record("message with blocks", lambda: create(messages=[BLOCKS]))
record("message that stops early", lambda: create(stop_sequences=["blue"], sampling=SAMPLING))
record("message that thinks", lambda: create(THINKING_MODEL, thinking=THINKING))
record("message that thinks, streamed", lambda: stream(THINKING_MODEL, thinking=THINKING))
record("message with tools", create_with_tools)
record("message with tools, streamed", lambda: create_with_tools(stream=True))
record("message as Claude Code requests it", stream_as_claude_code)

image = {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": IMAGE}}
refusals = {
    "message with a missing model": lambda: create(MISSING_MODEL),
    "message with a missing model, streamed": lambda: create(MISSING_MODEL, stream=True),
    "message with an image": lambda: create(messages=[{"role": "user", "content": [image]}]),
    "message with tools of a model without": lambda: create(tools=[WEATHER]),
    "message without tokens": lambda: create(max_tokens=0),
    "count of tokens": lambda: client.messages.count_tokens(model=CHAT_MODEL, messages=MESSAGES),
}
for call, function in refusals.items():
    record_refusal(call, anthropic.APIStatusError, function)
