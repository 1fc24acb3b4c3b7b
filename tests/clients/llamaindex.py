"""LlamaIndex's Ollama and OllamaEmbedding."""

from transcript import (
    BASE_URL,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    KEY,
    MISSING_MODEL,
    THINKING_MODEL,
    TOOL_MODEL,
    record,
    record_refusal,
)

import ollama
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama

HEADERS = {"Authorization": f"Bearer {KEY}"}
QUESTION = "Why is the sky blue?"
MESSAGES = [ChatMessage(role=MessageRole.USER, content=QUESTION)]


def model(name=CHAT_MODEL, num_predict=8, **arguments):
    options = {"seed": 1, "num_predict": num_predict}
    return Ollama(
        model=name,
        base_url=BASE_URL,
        headers=HEADERS,
        temperature=0,
        context_window=4096,
        request_timeout=300,
        additional_kwargs=options,
        **arguments,
    )


def embedding():
    return OllamaEmbedding(model_name=EMBEDDING_MODEL, base_url=BASE_URL, client_kwargs={"headers": HEADERS})


def weather(city: str) -> str:
    """Tells the weather of a city."""
    return "sunny"


def chat_with_tools():
    tools = [FunctionTool.from_defaults(weather)]
    return model(TOOL_MODEL).chat_with_tools(tools, user_msg="What is the weather in Oslo?")


record("chat", lambda: model().chat(MESSAGES))
record("chat, streamed", lambda: model().stream_chat(MESSAGES))
record("chat in JSON", lambda: model(json_mode=True).chat(MESSAGES))
record("chat with thinking", lambda: model(THINKING_MODEL, thinking=True).chat(MESSAGES))
record("chat with tools", chat_with_tools)
record("complete", lambda: model().complete(QUESTION))
record("complete, streamed", lambda: model().stream_complete(QUESTION))
record("embed a text", lambda: embedding().get_text_embedding("hello"))
record("embed texts", lambda: embedding().get_text_embedding_batch(["hello", "good-bye"]))
record_refusal("chat with a missing model", ollama.ResponseError, lambda: model(MISSING_MODEL).chat(MESSAGES))
