"""A gateway of the kind that Paddock replaces: it checks a bearer key against SQLite and streams from Ollama.

uvicorn runs the app. `python gateway.py FILE KEY` creates the database of keys.
"""

import hashlib
import os
import sqlite3
import sys
from contextlib import asynccontextmanager

import aiosqlite
import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

NOT_FORWARDED = {"authorization", "connection", "content-length", "host", "transfer-encoding"}


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@asynccontextmanager
async def lifespan(app: FastAPI):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
    async with (
        httpx.AsyncClient(base_url=os.environ["UPSTREAM"], timeout=None, limits=limits) as client,
        aiosqlite.connect(os.environ["KEYS"]) as keys,
    ):
        app.state.client, app.state.keys = client, keys
        yield


app = FastAPI(lifespan=lifespan)


async def authenticate(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        query = "SELECT 1 FROM keys WHERE hash = ? AND revoked = 0"
        async with request.app.state.keys.execute(query, (digest(key),)) as rows:
            if await rows.fetchone():
                return
    raise HTTPException(status_code=401, detail="invalid key")


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def forward(path: str, request: Request) -> StreamingResponse:
    await authenticate(request)
    client: httpx.AsyncClient = request.app.state.client
    headers = {name: value for name, value in request.headers.items() if name not in NOT_FORWARDED}
    upstream = client.build_request(request.method, f"/{path}", headers=headers, content=await request.body())
    answer = await client.send(upstream, stream=True)

    async def body():
        try:
            async for chunk in answer.aiter_raw():
                yield chunk
        finally:
            await answer.aclose()

    content_type = answer.headers.get("content-type")
    return StreamingResponse(body(), status_code=answer.status_code, media_type=content_type)


if __name__ == "__main__":
    file, key = sys.argv[1:]
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE keys (hash TEXT PRIMARY KEY, revoked INTEGER NOT NULL DEFAULT 0)")
        database.execute("INSERT INTO keys (hash) VALUES (?)", (digest(key),))
