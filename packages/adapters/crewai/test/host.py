"""Runs crews for the tests in TypeScript: requests come as lines of JSON on standard input, answers go out the same way."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

# Standard output is the tests'; whatever else is printed here goes to standard error.
_out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true",
    CREWAI_DISABLE_TRACKING="true",
    CREWAI_TRACING_ENABLED="false",
    CREWAI_TESTING="true",
    OTEL_SDK_DISABLED="true",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
)

import crews  # noqa: E402
import edges  # noqa: E402
import measure  # noqa: E402
import stories  # noqa: E402

_writing = threading.Lock()
_tool_calls: dict[str, Future[str]] = {}
_tasks: dict[str, asyncio.Task[None]] = {}


def say(message: dict[str, Any]) -> None:
    text = json.dumps(message)
    with _writing:
        _out.write(f"{text}\n")
        _out.flush()


def run_tool(request: str, name: str, args: dict[str, Any]) -> str:
    """Called in whatever thread CrewAI runs tools in; the test answers."""
    call = f"{request}/{len(_tool_calls)}/{threading.get_ident()}"
    future: Future[str] = Future()
    _tool_calls[call] = future
    say({"type": "tool", "id": request, "call": call, "name": name, "args": args})
    return future.result(timeout=30)


async def answer(request: str, story: Callable[..., Awaitable[Any]], args: dict[str, Any]) -> None:
    try:
        result = await story(args, lambda name, tool_args: run_tool(request, name, tool_args))
        say({"type": "result", "id": request, "result": result})
    except BaseException as error:
        say({"type": "fault", "id": request, "message": "".join(traceback.format_exception(error))})


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    say({"type": "ready"})
    while (line := await lines.get()) is not None:
        message = json.loads(line)
        match message["type"]:
            case "call":
                name = message["story"]
                story = next(getattr(place, name) for place in (stories, crews, edges, measure) if hasattr(place, name))
                _tasks[message["id"]] = asyncio.create_task(answer(message["id"], story, message["args"]))
            case "cancel":
                stories.cancel(message["id"], message["args"])
            case "tool_result":
                future = _tool_calls.pop(message["call"])
                if message["error"] is None:
                    future.set_result(message["result"])
                else:
                    future.set_exception(RuntimeError(message["error"]))


asyncio.run(main())
os._exit(0)
