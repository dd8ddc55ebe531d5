"""Crews of more than one agent, on a gateway's sandbox model: what the conformance scenarios don't play."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crewai import LLM, Agent, BaseLLM, Crew, Flow, Task
from crewai.events import crewai_event_bus
from crewai.events.base_events import BaseEvent
from crewai.events.types.llm_events import LLMCallCompletedEvent, LLMCallStartedEvent
from crewai.flow import listen, start
from crewai.hooks import HookAborted, InterceptionPoint, register_hook, unregister_hook
from crewai.tools import BaseTool
from pydantic import Field
from runpurse_crewai import Problem, Run, Runpurse, refusal_of

RunTool = Callable[[str, dict[str, Any]], str]


class Lookup(BaseTool):
    name: str = "lookup"
    description: str = "Looks something up."
    calls: list[str] = Field(default_factory=list)
    fails: bool = False
    interrupted: bool = False

    def _run(self, q: str) -> str:
        self.calls.append(q)
        if self.interrupted:
            raise KeyboardInterrupt
        if self.fails:
            raise ValueError("login failed: Authorization: Bearer sk-live-5e1f0c2d9a8b7c6d5e4f")
        return f"found {q}"


def llm_at(place: dict[str, str], model: str, **options: Any) -> LLM:
    # Anthropic's client adds the version to the path itself.
    base_url = place["url"] if model.startswith("claude") else f"{place['url']}/v1"
    maker = "anthropic" if model.startswith("claude") else "openai"
    return LLM(model=f"{maker}/{model}", base_url=base_url, api_key=place["key"], max_tokens=1000, max_retries=0, **options)


def agent(role: str, llm: BaseLLM, tools: list[BaseTool] | None = None, **options: Any) -> Agent:
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


def ended(work: Callable[[], object]) -> str:
    """What came of it, or why it was refused."""
    try:
        return str(work())
    except Exception as error:
        refusal = refusal_of(error)
        return refusal.code if refusal else type(error).__name__


def desk_crew(llm: BaseLLM, tool: Lookup, **options: Any) -> Crew:
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
        llm = llm_at(args["model_at"], args.get("model", "desk"), **interceptor, **args.get("llm", {}))
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


async def hooked(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A crew with a hook of the user's, which CrewAI asks after ours."""
    problems: list[str] = []
    tool = Lookup()
    asked: list[str] = []

    def hook(context: Any) -> object:
        asked.append("asked")
        if args["does"] == "raise":
            raise HookAborted("not today", source="user")
        if args["does"] == "change" and len(asked) > 1:
            context.tool_input["q"] = "y"
        return False if args["does"] == "return False" else None

    point = InterceptionPoint.PRE_MODEL_CALL if args.get("of_models") else InterceptionPoint.PRE_TOOL_CALL
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}):
        register_hook(point, hook)
        try:
            told = llm_at(args["model_at"], args.get("model", "desk"))
            crew = desk_crew(Scripted(model="desk", max_tokens=100) if args.get("by_text") else told, tool, cache=args.get("cache", False))
            result: dict[str, Any] = {"output": str((await asyncio.to_thread(crew.kickoff)).raw)}
        except Exception as error:
            result = {"error": type(error).__name__}
        finally:
            unregister_hook(point, hook)
    return {**result, "problems": problems, "tool_calls": tool.calls}


async def interrupted(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """A crew that Ctrl-C or a timeout ends, then two more and a lone model call in the same thread, or the same task."""
    problems: list[str] = []
    ends: list[str] = []
    with attached(args["gateway"], problems, context={"session_id": args["session_id"]}):
        llm = llm_at(args["model_at"], "desk")

        def work() -> None:
            try:
                desk_crew(llm, Lookup(interrupted=True)).kickoff()
            except KeyboardInterrupt:
                ends.append("interrupted")
            for _ in range(2):
                ends.append(str(desk_crew(llm, Lookup()).kickoff().raw))
            ends.append(str(llm.call("Write it.")))

        async def work_in_a_task() -> None:
            task = asyncio.current_task()
            assert task is not None

            class Cancelling(Lookup):
                def _run(self, q: str) -> str:
                    asyncio_loop.call_soon_threadsafe(task.cancel)
                    time.sleep(0.1)
                    return super()._run(q)

            asyncio_loop = asyncio.get_running_loop()
            try:
                await desk_crew(llm, Cancelling()).akickoff()
            except asyncio.CancelledError:
                ends.append("interrupted")
            for _ in range(2):
                ends.append(str((await desk_crew(llm, Lookup()).akickoff()).raw))
            ends.append(str(await llm.acall("Write it.")))

        await (asyncio.create_task(work_in_a_task()) if args["is_async"] else asyncio.to_thread(work))
    return {"ends": ends, "problems": problems}


async def paused(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """
    One crew kicked off three times in a run: as it is, while the run is paused, and after it goes on. Then a run that ends while
    it is paused, and goes on as another.
    """
    problems: list[str] = []
    place = args["gateway"]
    ends: list[str] = []

    def say(what: str, run_id: str) -> None:
        url = f"{place['url']}/v1/runs/{run_id}/{what}"
        request = urllib.request.Request(url, b"{}", {"authorization": f"Bearer {place['key']}", "content-type": "application/json"})
        urllib.request.urlopen(request).close()

    with attached(place, problems) as runpurse:
        crew = desk_crew(llm_at(args["model_at"], args.get("model", "desk"), **args.get("llm", {})), Lookup())

        def kickoff() -> str:
            return str(crew.kickoff().raw)

        def in_run(first: str | None = None) -> str:
            with runpurse.run(run_id="left"):
                if first is not None:
                    say(first, "left")
                return kickoff()

        def work() -> None:
            with runpurse.run(run_id="paused"):
                for first in (None, "pause", "resume"):
                    if first is not None:
                        say(first, "paused")
                    ends.append(ended(kickoff))
            ends.append(ended(lambda: in_run("pause")))
            say("resume", "left")
            ends.append(ended(in_run))

        await asyncio.to_thread(work)
    return {"ends": ends, "problems": problems}


async def smaller(args: dict[str, Any], _tool: RunTool) -> dict[str, Any]:
    """The same call twice in a run, through the gateway: with a longer answer than its cap allows, and with a shorter one."""
    problems: list[str] = []
    ends: list[str] = []
    with attached(args["gateway"], problems) as runpurse:

        def work() -> None:
            with runpurse.run(limit_usd="0.0015"):
                for longest in (1000, 600):
                    llm = llm_at(args["gateway"], "desk")
                    llm.max_tokens = longest
                    try:
                        ends.append(str(llm.call("Write it.")))
                    except Exception as error:
                        refusal = refusal_of(error)
                        ends.append(refusal.code if refusal else type(error).__name__)

        await asyncio.to_thread(work)
    return {"ends": ends, "problems": problems}


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
    """CrewAI's listeners are slow, and those made before are not told."""
    problems: list[str] = []

    def slow(_source: Any, _event: Any) -> None:
        time.sleep(0.2)

    with attached(args["gateway"], problems) as runpurse:
        llm = llm_at(args["provider"], "desk")

        def work() -> None:
            with crewai_event_bus.scoped_handlers():
                for event_type in (LLMCallStartedEvent, LLMCallCompletedEvent):
                    crewai_event_bus.register_handler(event_type, slow)
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
        if any(known in str(message["content"]) for message in messages for known in ("found x", "blocked by hook", "Write it.")):
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
