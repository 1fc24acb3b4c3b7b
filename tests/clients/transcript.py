"""Prints what a client receives from a server: one line of JSON for each call.

A line has the `call`, the `result` that the SDK returned, and the `http` responses as they
arrived. Values that differ between any two calls, such as ids and durations, are replaced. The
client is configured by `BASE_URL` and `KEY` only.
"""

import importlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator

import pydantic

BASE_URL = os.environ["BASE_URL"]
KEY = os.environ["KEY"]
CHAT_MODEL = os.environ["CHAT_MODEL"]
TOOL_MODEL = os.environ["TOOL_MODEL"]
THINKING_MODEL = os.environ["THINKING_MODEL"]
EMBEDDING_MODEL = os.environ["EMBEDDING_MODEL"]
MISSING_MODEL = "no-such-model:1b"

# A GIF of one pixel.
IMAGE = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["blue", "red"]}},
    "required": ["colour"],
}

# Members with times and durations.
VOLATILE = {
    "completed_at",
    "created",
    "created_at",
    "eval_duration",
    "expires_at",
    "load_duration",
    "prompt_eval_duration",
    "total_duration",
}
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4,12}){4}"
ID = rf"(?:(?:call|chatcmpl|cmpl|fc|lc_run|msg|req|resp|rs|toolu)[-_]+[A-Za-z0-9_-]+|{UUID})"
WHOLE_ID = re.compile(ID)
QUOTED_ID = re.compile(rf"""(["']){ID}\1""")
VOLATILE_MEMBER = re.compile(rf'"({"|".join(sorted(VOLATILE))})":("[^"]*"|-?[0-9.]+)')
# The response headers that are compared.
HEADERS = ("content-type", "x-paddock-ignored")

responses = []


class RecordedStream:
    """A response body that notes its bytes as they pass."""

    def __init__(self, stream, response):
        self.stream = stream
        self.response = response

    def __iter__(self):
        for chunk in self.stream:
            self.response["body"] += chunk
            yield chunk

    def close(self):
        self.stream.close()


def record_responses(library):
    """Makes every client of an HTTP library note its responses."""
    send = library.HTTPTransport.handle_request
    # Both libraries require streams of their own type.
    stream_type = type("Recorded", (RecordedStream, library.SyncByteStream), {})

    def send_and_record(transport, request):
        response = send(transport, request)
        headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
        noted = {"status": response.status_code, "headers": headers, "body": b""}
        responses.append(noted)
        response.stream = stream_type(response.stream, noted)
        return response

    library.HTTPTransport.handle_request = send_and_record


# The SDKs use one or the other.
for name in ("httpx", "httpx2"):
    if importlib.util.find_spec(name):
        record_responses(importlib.import_module(name))


def record(call, function):
    """Makes a call that must succeed, and prints its transcript."""
    write(call, plain(function()))


def record_refusal(call, error_type, function):
    """Makes a call that must be refused, and prints its transcript."""
    try:
        result = plain(function())
    except error_type as error:
        name = type(error).__name__
        write(call, {"error": name, "status": error.status_code, "message": str(error)})
    else:
        raise AssertionError(f"{call} was not refused: {result}")


def record_ps(function):
    """Lists the models in memory, and prints them by name.

    Ollama lists models that expire in the same second in any order.
    """
    loaded = plain(function())
    for listed in (loaded, response_in_json := json.loads(responses[0]["body"])):
        listed["models"].sort(key=lambda model: model["name"])
    responses[0]["body"] = json.dumps(response_in_json, separators=(",", ":")).encode()
    write("ps", loaded)


def write(call, result):
    http = [{**noted, "body": stable_text(noted["body"].decode())} for noted in responses]
    responses.clear()
    print(json.dumps({"call": call, "result": stable(result), "http": http}), flush=True)


def plain(value):
    """Turns a result into JSON. A stream becomes the list of its parts."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", warnings=False)
    if isinstance(value, Iterator | list | tuple):
        return [plain(part) for part in value]
    return value


def stable(value):
    """Replaces the volatile values of a result."""
    if isinstance(value, dict):
        replaced = {name: "*" for name in VOLATILE & value.keys() if value[name] is not None}
        return {name: stable(member) for name, member in value.items()} | replaced
    if isinstance(value, list):
        return [stable(part) for part in value]
    if isinstance(value, str):
        return "*" if WHOLE_ID.fullmatch(value) else stable_text(value)
    return value


def stable_text(text):
    """Replaces the volatile values of a text that contains JSON. Everything else stays as it is."""
    return QUOTED_ID.sub(r"\1*\1", VOLATILE_MEMBER.sub(r'"\1":"*"', text))
