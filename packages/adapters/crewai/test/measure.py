"""How long a call takes with the adapter and without it, in turn; for bench.ts."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from crewai import LLM
from crewai.events import crewai_event_bus
from crewai.hooks import register_hook, unregister_hook
from crewai.utilities.agent_utils import execute_single_native_tool_call
from crews import Lookup, RunTool
from runpurse_crewai import Runpurse

PROMPT = [{"role": "user", "content": "hi"}]


async def added_time(args: dict[str, Any], _tool: RunTool) -> dict[str, float]:
    return await asyncio.to_thread(_measure, args)


def _measure(args: dict[str, Any]) -> dict[str, float]:
    runpurse = Runpurse(args["gatewayUrl"], args["apiKey"])
    rounds, warm_up = args["rounds"], args["warmUp"]

    def compare(without: Callable[[], object], with_it: Callable[[], object]) -> float:
        times: dict[str, list[float]] = {"without": [], "with": []}
        for number in range(warm_up + rounds):
            for name, call in (("without", without), ("with", with_it)):
                for point, hook in runpurse._hooks:
                    (unregister_hook if name == "without" else register_hook)(point, hook)
                began = time.perf_counter()
                call()
                if number >= warm_up:
                    times[name].append(time.perf_counter() - began)
                crewai_event_bus.flush()
        return (statistics.median(times["with"]) - statistics.median(times["without"])) * 1000

    def llm(url: str, **options: Any) -> LLM:
        return LLM(model="openai/model", base_url=url, api_key=args["apiKey"], max_tokens=100, max_retries=0, **options)

    carried, direct = llm(args["carriedUrl"]), llm(args["directUrl"], interceptor=runpurse.interceptor)
    headed, bare = llm(args["carriedUrl"], default_headers=args["runHeaders"]), llm(args["directUrl"])
    lookup = Lookup()
    count = iter(range(1_000_000))

    def use_tool() -> None:
        function = {"name": "lookup", "arguments": f'{{"q": "{next(count)}"}}'}
        execute_single_native_tool_call(
            {"id": "call", "function": function},
            available_functions={"lookup": lookup.run},
            original_tools=[lookup],
            structured_tools=None,
            tools_handler=None,
            agent=None,
            task=None,
            crew=None,
            event_source=lookup,
        )

    for point, hook in runpurse._hooks:
        unregister_hook(point, hook)
    try:
        with runpurse.run():
            return {
                "carriedModelCallMs": compare(lambda: headed.call(PROMPT), lambda: carried.call(PROMPT)),
                "directModelCallMs": compare(lambda: bare.call(PROMPT), lambda: direct.call(PROMPT)),
                "toolCallMs": compare(use_tool, use_tool),
            }
    finally:
        runpurse.close()
