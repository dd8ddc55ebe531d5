"""What CrewAI does beside the calls that it tells its hooks of."""

from __future__ import annotations

import asyncio
import gc
import socket
import tempfile
import time
import weakref
from typing import Any
from unittest import mock

from crewai import LLM, Agent, BaseLLM, Crew, Flow, Memory
from crewai.flow.async_feedback import HumanFeedbackPending
from crewai.flow.flow import start
from crewai.flow.human_feedback import human_feedback
from crews import Lookup, RunTool, agent, attached, desk_crew, ended, llm_at, task
from pydantic import BaseModel
from runpurse_crewai.run import OPEN_RUNS

LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    },
}


async def function(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A model call that runs a function itself, in a run of the user's or by itself."""
    problems: list[str] = []
    calls: list[str] = []

    def lookup(q: str) -> str:
        calls.append(q)
        if args.get("fails"):
            raise ValueError("no")
        return f"found {q}"

    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}) as runpurse:
        llm = llm_at(args["model_at"], args["model"], **args.get("llm", {}))
        tool = Lookup(calls=calls)

        def ask_inside(q: str) -> str:
            calls.append(q)
            return llm.call("Write it.")

        functions = {"plain": lookup, "a tool's": tool.run, "asking": ask_inside}

        def ask() -> object:
            if args["function"] is None:
                return type(llm.call("lookup", tools=[LOOKUP])).__name__
            return llm.call("lookup", tools=[LOOKUP], available_functions={"lookup": functions[args["function"]]})

        def ask_twice() -> str:
            with runpurse.run():
                return f"{ended(ask)}, {ended(ask)}"

        end = await asyncio.to_thread(ended, ask_twice if args["in_run"] else ask)
        still_wrapped = hasattr(BaseLLM._handle_tool_execution, "__wrapped__")
    return {
        "end": end,
        "calls": tool.calls or calls,
        "problems": problems,
        "wrapped": [still_wrapped, hasattr(BaseLLM._handle_tool_execution, "__wrapped__")],
    }


class Answer(BaseModel):
    text: str


async def declined(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A model that declines to answer in shape: CrewAI asks it again, without."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}) as runpurse:
        interceptor = {"interceptor": runpurse.interceptor} if args["intercepted"] else {}
        llm = llm_at(args["model_at"], "desk", **interceptor)
        writer = agent("writer", llm)
        crew = Crew(agents=[writer], tasks=[task("Write it.", writer, output_pydantic=Answer)], verbose=False)

        def work() -> object:
            return crew.kickoff().raw if args["in_crew"] else llm.call("Write it.", response_model=Answer)

        end = await asyncio.to_thread(ended, work)
        await asyncio.to_thread(runpurse.flush)
    return {"end": end, "problems": problems}


async def planning(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """An agent that makes a plan first."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}) as runpurse:
        interceptor = {"interceptor": runpurse.interceptor} if args["intercepted"] else {}
        planner = agent("planner", llm_at(args["model_at"], "planner", **interceptor), reasoning=True)
        crew = Crew(agents=[planner], tasks=[task("Write it.", planner)], verbose=False)
        end = await asyncio.to_thread(ended, lambda: crew.kickoff().raw)
    return {"end": end, "problems": problems}


async def alone(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """An agent by itself whose guardrail is never content, or one whose answer must be brought into shape."""
    problems: list[str] = []

    class Answer(BaseModel):
        text: str

    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}, limit_usd=args["limit_usd"]):
        llm = llm_at(args["model_at"], "shaper")
        if args["does"] == "guard":
            picky = agent("alone", llm, guardrail=lambda _output: (False, "again"), guardrail_max_retries=5)
            end = await asyncio.to_thread(ended, lambda: picky.kickoff("Write it.").raw)
        elif args["does"] == "shape":
            end = await asyncio.to_thread(ended, lambda: shaping(llm).kickoff("lookup", response_format=Answer).raw)
        else:
            end = str((await shaping(llm).akickoff("lookup", response_format=Answer)).raw)
    return {"end": end, "problems": problems}


def shaping(llm: BaseLLM) -> Agent:
    return agent("alone", llm, [Lookup()])


async def spent(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A crew whose model asks for a tool more often than it may be used."""
    problems: list[str] = []
    tool = Lookup(max_usage_count=1)
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}):
        crew = desk_crew(llm_at(args["model_at"], "again"), tool, cache=False)
        end = await asyncio.to_thread(ended, lambda: crew.kickoff().raw)
    return {"end": end, "problems": problems, "tool_calls": tool.calls}


async def replayed(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A crew that is kicked off, then replayed from its first task."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}):
        crew = desk_crew(llm_at(args["model_at"], "desk"), Lookup())

        def work() -> list[str]:
            return [ended(lambda: crew.kickoff().raw), ended(lambda: crew.replay(str(crew.tasks[0].id)).raw)]

        ends = await asyncio.to_thread(work)
    return {"ends": ends, "problems": problems}


async def kicked_off(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A crew on a gateway, under the failure policy `closed`."""
    problems: list[str] = []
    tool = Lookup()
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}, failure_policy="closed"):
        crew = desk_crew(llm_at(args["model_at"], "desk"), tool)
        end = await asyncio.to_thread(ended, lambda: crew.kickoff().raw)
    return {"end": end, "tool_calls": tool.calls}


async def hanging(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Crews one after the other on a gateway that takes connections and never answers; how long each takes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = {"url": f"http://127.0.0.1:{listener.getsockname()[1]}", "key": args["model_at"]["key"]}
        took: list[float] = []
        with attached(place, [], timeout_s=1.0):
            for _ in range(3):
                began = time.monotonic()
                crew = desk_crew(llm_at(args["model_at"], "desk"), Lookup())
                await asyncio.to_thread(crew.kickoff)
                took.append(time.monotonic() - began)
    return {"took": took}


async def remembering(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Who remembers what it did: CrewAI saves that in the background."""
    problems: list[str] = []

    def embed(texts: list[str]) -> list[list[float]]:
        time.sleep(0.3)  # So it saves when an agent by itself is done.
        return [[1.0, 0.0] if "sky" in text else [0.0, 1.0] for text in texts]

    llm = llm_at(args["model_at"], "rememberer")
    memory = Memory(llm=llm, storage=tempfile.mkdtemp(), embedder=embed)

    class Remembering(Flow[Any]):
        @start()
        def work(self) -> str:
            self.remember(["The sky is blue.", "Cats like fish."])
            return "done"

    def crew() -> str:
        by = agent("rememberer", llm)
        return str(Crew(agents=[by], tasks=[task("Write it.", by)], memory=memory, verbose=False).kickoff().raw)

    def flow() -> str:
        remembering = Remembering()
        remembering.memory = memory
        return str(remembering.kickoff())

    def alone() -> str:
        return str(agent("rememberer", llm, memory=memory).kickoff("Write it.").raw)

    def failing() -> str:
        alone()
        raise ValueError("no")

    work = {"a crew": crew, "a flow": flow, "an agent": alone, "an agent in a run that fails": failing}[args["who"]]
    whose = {"session_id": args["session_id"], "customer_id": "acme"}
    with attached(args["gateway"], problems, context={} if args["in_run"] else whose) as runpurse:

        def in_run() -> str:
            with runpurse.run(**whose):
                return work()

        end = await asyncio.to_thread(ended, in_run if args["in_run"] else work)
        saved_at_end = len(memory.list_records())
        await asyncio.to_thread(memory.drain_writes)
        await asyncio.to_thread(runpurse.flush)
    return {"end": end, "problems": problems, "saved": [saved_at_end, len(memory.list_records())]}


class _Pending:
    def request_feedback(self, context: Any, flow: Any) -> str:
        raise HumanFeedbackPending(context=context)


class Waiting(Flow[Any]):
    @start()
    @human_feedback(message="Is it good?", provider=_Pending())
    def work(self) -> str:
        return "done"


async def abandoned(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Tasks of a server that goes on, whose kickoffs and calls are cancelled or wait for a human."""
    problems: list[str] = []
    owners: list[weakref.ref[Any]] = []

    async def work() -> None:
        if args["what"] == "a crew":
            await desk_crew(llm_at(args["model_at"], "slow"), Lookup()).akickoff()
        elif args["what"] == "a flow":
            flow = Waiting()
            owners.append(weakref.ref(flow))
            await flow.kickoff_async()
        else:
            await llm_at(args["model_at"], "slow").acall("Write it.")

    whose = {"session_id": args["session_id"]}
    with attached(args["gateway"], problems, context=whose) as runpurse:
        for _ in range(3):
            await asyncio.wait([served := asyncio.create_task(work())], timeout=0.5)
            served.cancel()
            await asyncio.wait([served])
            del served
        gc.collect()
        await asyncio.to_thread(llm_at(args["model_at"], "desk").call, "Write it.")
        await asyncio.to_thread(runpurse.flush)
        open_runs = len(OPEN_RUNS)
    return {"problems": problems, "open": open_runs, "owners": [owner() is not None for owner in owners]}


async def taken_away(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Attached while somebody else has patched CrewAI, who then puts back what they had found; attached anew."""
    calls: list[str] = []

    def ask() -> str:
        functions = {"lookup": calls.append}
        return ended(lambda: llm_at(args["model_at"], "desk").call("lookup", tools=[LOOKUP], available_functions=functions))

    with mock.patch.object(BaseLLM, "_handle_tool_execution", BaseLLM._handle_tool_execution):
        first = attached(args["gateway"], [])
        first.__enter__()
    first.__exit__(None, None, None)
    with attached(args["gateway"], []):
        end = await asyncio.to_thread(ask)
    return {"end": end, "calls": calls}


async def at_once(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Model calls of one run side by side, in tasks of their own."""
    problems: list[str] = []
    with attached(args["gateway"], problems) as runpurse:
        llm = llm_at(args["model_at"], "slow")
        with runpurse.run(session_id=args["session_id"]):
            said = await asyncio.gather(*(llm.acall(f"Write it {number}.") for number in range(3)))
        await asyncio.to_thread(runpurse.flush)
    return {"said": len(said), "problems": problems}


async def by_itself(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A model call outside of any run, under the caps of each run."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}, **args["caps"]) as runpurse:
        llm = llm_at(args["model_at"], args.get("model", "desk"), **args.get("llm", {}))
        end = await asyncio.to_thread(ended, lambda: llm.call("Write it."))
        await asyncio.to_thread(runpurse.flush)
    return {"end": end, "problems": problems}


async def one_fails(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """One of many model calls side by side fails, and the block with it; how long its event loop stood still."""
    problems: list[str] = []
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    with attached(args["gateway"], problems) as runpurse:
        slow, broken = (llm_at(args["model_at"], model) for model in ("slow", "too-long"))
        heart = asyncio.create_task(beat())
        try:
            with runpurse.run(session_id=args["session_id"]):
                await asyncio.gather(broken.acall("Write it."), *(slow.acall(f"Write it {number}.") for number in range(20)))
        except Exception as error:
            end = type(error).__name__
        await asyncio.sleep(0.1)
        heart.cancel()
        await asyncio.to_thread(runpurse.flush)
    return {"end": end, "stood_still": longest > 5, "problems": problems}
