"""LangChain's ChatOllama and OllamaEmbeddings."""

import os

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
    record_refusal,
)

os.environ |= {"OLLAMA_HOST": BASE_URL, "OLLAMA_API_KEY": KEY}

import ollama  # noqa: E402, it reads the environment
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage  # noqa: E402
from langchain_ollama import ChatOllama, OllamaEmbeddings  # noqa: E402

QUESTION = "Why is the sky blue?"


def weather(city: str) -> str:
    """Tells the weather of a city."""
    return "sunny"


def chat(model=CHAT_MODEL, num_predict=8, **arguments):
    """A model with a context length, as many applications configure it. Only admins choose that."""
    return ChatOllama(
        model=model, temperature=0, seed=1, num_predict=num_predict, num_ctx=4096, **arguments
    )


def chat_with_tools():
    call = {"id": "call_1", "name": "weather", "args": {"city": "Oslo"}}
    question = HumanMessage("What is the weather in Oslo?")
    answered = [question, AIMessage("", tool_calls=[call]), ToolMessage("sunny", tool_call_id="call_1")]
    return chat(TOOL_MODEL, 40).bind_tools([weather]), [*answered, *answered, question]


def invoke_with_tools():
    model, messages = chat_with_tools()
    return model.invoke(messages)


def stream_with_tools():
    model, messages = chat_with_tools()
    return model.stream(messages)


embeddings = OllamaEmbeddings(model=EMBEDDING_MODEL)

record("invoke", lambda: chat().invoke(QUESTION))
record("stream", lambda: chat().stream(QUESTION))
record("invoke a validated model", lambda: chat(validate_model_on_init=True).invoke(QUESTION))
record("invoke in JSON", lambda: chat(format="json").invoke(QUESTION))
record("invoke by a schema", lambda: chat(format=SCHEMA).invoke(QUESTION))
record("invoke with thinking", lambda: chat(THINKING_MODEL, reasoning=True).invoke(QUESTION))
record("stream with thinking", lambda: chat(THINKING_MODEL, reasoning=True).stream(QUESTION))
record("invoke with tools", invoke_with_tools)
record("stream with tools", stream_with_tools)
record("embed a query", lambda: embeddings.embed_query("hello"))
record("embed documents", lambda: embeddings.embed_documents(["hello", "good-bye"]))
record_refusal("invoke a missing model", ollama.ResponseError, lambda: chat(MISSING_MODEL).invoke(QUESTION))
