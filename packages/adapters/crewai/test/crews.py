"""Crews of more than one agent, on a gateway's sandbox model: what the conformance scenarios don't play."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crewai import LLM, Agent, BaseLLM, Crew, Flow, Task
from crewai.events import crewai_event_bus
from crewai.events.base_events import BaseEvent
from crewai.flow import listen, start
from crewai.hooks import HookAborted
from crewai.tools import BaseTool
from pydantic import Field
from runpurse_crewai import Problem, Run, Runpurse, refusal_of

RunTool = Callable[[str, dict[str, Any]], str]


class Lookup(BaseTool):
    name: str = "lookup"
    description: str = "Looks something up."
    calls: list[str] = Field(default_factory=list)
    fails: bool = False

    def _run(self, q: str) -> str:
        self.calls.append(q)
        if self.fails:
            raise ValueError("login failed: Authorization: Bearer sk-live-5e1f0c2d9a8b7c6d5e4f")
        return f"found {q}"


def llm_at(place: dict[str, str], model: str, **options: Any) -> LLM:
    # Anthropic's client adds the version to the path itself.
    base_url = place["url"] if model.startswith("claude") else f"{place['url']}/v1"
    maker = "anthropic" if model.startswith("claude") else "openai"
    return LLM(model=f"{maker}/{model}", base_url=base_url, api_key=place["key"], max_tokens=1000, max_retries=0, **options)


def agent(role: str, llm: LLM, tools: list[BaseTool] | None = None, **options: Any) -> Agent:
    return Agent(role=role, goal="Help.", backstory="You help.", llm=llm, tools=tools or [], verbose=False, **options)


def task(description: str, by: Agent, **options: Any) -> Task:
    return Task(description=description, expected_output="An answer.", agent=by, **options)


@contextmanager
def attached(place: dict[str, str], problems: list[str], **options: Any) -> Iterator[Runpurse]:
    def note(problem: Problem) -> None:
        problems.append(f"{problem.code}: {problem.message}")

    runpurse = Runpurse(place["url"], place["key"], on_problem=note, **options)
    try:
        yield runpurse
    finally:
        runpurse.close()


def desk_crew(llm: LLM, tool: Lookup, **options: Any) -> Crew:
    """A researcher with a tool, and a writer who goes by what the researcher found."""
    researcher, writer = agent("researcher", llm, [tool]), agent("writer", llm)
    tasks = [task("Find it: lookup", researcher), task("Write it.", writer)]
    return Crew(name="desk", agents=[researcher, writer], tasks=tasks, verbose=False, **options)


async def desk(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """One crew of two agents, attached as `args` says; what came of it."""
    problems: list[str] = []
    tool = Lookup(fails=args.get("fails", False))
    with attached(args["gateway"], problems, **args.get("options", {})) as runpurse:
        interceptor = {"interceptor": runpurse.interceptor} if args.get("intercepted") else {}
        llm = llm_at(args["model_at"], args.get("model", "desk"), **interceptor)
        crew = desk_crew(llm, tool, cache=args.get("cache", False))
        if args.get("broken"):

            def broken(_event: object) -> None:
                raise RuntimeError("a bug of ours")

            runpurse.client.ask = broken  # type: ignore[method-assign,assignment]
        try:
            output = await crew.akickoff() if args.get("native_async") else await asyncio.to_thread(crew.kickoff)
            result: dict[str, Any] = {"output": str(output.raw)}
        except Exception as error:
            refusal = refusal_of(error)
            result = {
                "error": type(error).__name__,
                "is_hook_aborted": isinstance(error, HookAborted),
                "message": str(error),
                "code": refusal.code if refusal else None,
            }
    return {**result, "problems": problems, "tool_calls": tool.calls}


async def side_by_side(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Two tasks at once, each with a tool, and one that waits for both."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}) as runpurse:
        llm = llm_at(args["model_at"], "desk", interceptor=runpurse.interceptor)
        left, right, last = agent("left", llm, [Lookup()]), agent("right", llm, [Lookup()]), agent("last", llm)
        first = [task("Find it: lookup", left, async_execution=True), task("Find it: lookup", right, async_execution=True)]
        crew = Crew(name="parallel", agents=[left, right, last], tasks=[*first, task("Write it.", last, context=first)], verbose=False)
        output = await asyncio.to_thread(crew.kickoff)
    return {"output": str(output.raw), "problems": problems}


async def many(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """Many crews at once in threads of one process; every other one's model calls don't pass the gateway."""
    problems: list[str] = []
    outputs: dict[str, str] = {}
    with attached(args["gateway"], problems) as runpurse:
        llms = [llm_at(place, "desk", interceptor=runpurse.interceptor) for place in (args["gateway"], args["provider"])]

        def work(number: int) -> None:
            one = agent(f"agent {number}", llms[number % 2], [Lookup()])
            with runpurse.run(run_id=f"run {number}", session_id=f"session of {number}"):
                outputs[f"run {number}"] = str(Crew(agents=[one], tasks=[task("Find it: lookup", one)], verbose=False).kickoff().raw)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(args["count"])]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    return {"outputs": outputs, "problems": problems}


async def told_late(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """CrewAI's event handlers are slow; one runs before ours."""
    problems: list[str] = []
    with attached(args["gateway"], problems) as runpurse:

        def late(handler: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
            def wait_and_handle(source: Any, event: Any) -> None:
                time.sleep(0.2)
                handler(source, event)

            return wait_and_handle

        for event_type, handler in runpurse._handlers:
            crewai_event_bus.off(event_type, handler)
            crewai_event_bus.register_handler(event_type, late(handler))
        llm = llm_at(args["provider"], "desk", interceptor=runpurse.interceptor)

        def work() -> None:
            with runpurse.run(run_id="late"):
                desk_crew(llm, Lookup()).kickoff()

        await asyncio.to_thread(work)
    return {"problems": problems}


async def one_flow(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A flow of two crews is one run, and ends with the flow."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}):
        llm = llm_at(args["gateway"], "desk")

        class Days(Flow):  # type: ignore[type-arg]
            @start()
            def monday(self) -> str:
                return str(desk_crew(llm, Lookup()).kickoff().raw)

            @listen(monday)
            def tuesday(self, _before: str) -> str:
                return str(desk_crew(llm, Lookup()).kickoff().raw)

        output = await asyncio.to_thread(Days().kickoff)
    return {"output": str(output), "problems": problems}


class Scripted(BaseLLM):
    """A model of the user's own: no events, no usage, no function calling."""

    def call(self, messages: Any, *_args: Any, **_options: Any) -> str:
        if any("found x" in str(message["content"]) for message in messages):
            return "Thought: I know.\nFinal Answer: done"
        return 'Thought: I look it up.\nAction: lookup\nAction Input: {"q": "x"}'

    def supports_function_calling(self) -> bool:
        return False


async def by_text(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """An agent that asks for its tools in text, on a model that CrewAI tells nothing of."""
    problems: list[str] = []
    tool = Lookup()
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}):
        one = agent("researcher", Scripted(model="desk", max_tokens=100), [tool])
        crew = Crew(agents=[one], tasks=[task("Find it.", one)], verbose=False)
        output = await asyncio.to_thread(crew.kickoff)
    return {"output": str(output.raw), "problems": problems, "tool_calls": tool.calls}


async def loose(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A model call and an agent outside any kickoff, then both inside a run that the user makes."""
    problems: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}) as runpurse:
        llm = llm_at(args["provider"], "desk", interceptor=runpurse.interceptor)

        def apart() -> None:
            alone = agent("alone", llm, [Lookup()])
            alone.kickoff("Find it: lookup")
            Crew(agents=[alone], tasks=[task("Write it.", alone)], verbose=False).kickoff()
            llm.call("Write it.")

        await asyncio.to_thread(apart)

        def together() -> Run:
            with runpurse.run(run_id="together") as run:
                llm.call("Write it.")
                agent("helper", llm, [Lookup()]).kickoff("Find it: lookup")
                run.revenue_usd = "0.10"
            return run

        await asyncio.to_thread(together)
    return {"problems": problems}


async def events_of(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """The events of a crew that nobody attached anything to, as CrewAI writes them."""
    events: list[dict[str, Any]] = []
    emit = crewai_event_bus.emit

    def note(source: Any, event: BaseEvent) -> Any:
        future = emit(source, event)
        events.append(json.loads(json.dumps(event.to_json(), default=str)))
        return future

    crewai_event_bus.emit = note  # type: ignore[method-assign]
    try:
        crew = desk_crew(llm_at(args["provider"], "desk"), Lookup())
        await asyncio.to_thread(crew.kickoff, inputs={"password": "hunter2-correct-horse"})
    finally:
        crewai_event_bus.emit = emit  # type: ignore[method-assign]
    return {"events": events}
