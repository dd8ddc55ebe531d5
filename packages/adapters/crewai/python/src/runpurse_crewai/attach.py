"""What CrewAI tells and asks, handed to the gateway: hooks that can say no, a listener for the ends, headers on the wire."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from crewai.events import crewai_event_bus
from crewai.events.types.llm_events import LLMCallCompletedEvent, LLMCallFailedEvent, LLMCallStartedEvent
from crewai.events.types.tool_usage_events import ToolUsageErrorEvent, ToolUsageFinishedEvent
from crewai.execution import get_execution_uuid
from crewai.hooks import HookAborted, InterceptionPoint, register_hook, unregister_hook
from crewai.utilities.agent_utils import is_inside_event_loop
from crewai.utilities.string_utils import sanitize_tool_name

from .call import NOTHING, ModelCall, ToolCall
from .client import Client, FailurePolicy, Problem
from .decision import GatewayUnavailable, Refused, or_raise
from .interceptor import CALL_ID, RunpurseInterceptor
from .run import OPEN_RUNS, Run, check_context, end_abandoned
from .seams import (
    AGENT_KICKOFF,
    AGENT_KICKOFF_ASYNC,
    CREW_REPLAY,
    EMIT,
    FUNCTION,
    LITELLM_CALLS,
    LITELLM_FUNCTION,
    LITELLM_REQUESTS,
    USAGE,
    Around,
    Seam,
)
from .state import LAST_TOOL, MODEL, RUN, TOOL, current_run
from .translate import input_hash, input_tokens_max, max_output_tokens, usable_id, usage_of

#: Where failing open would let a call be made that nobody allowed.
_ASKING = frozenset({InterceptionPoint.EXECUTION_START, InterceptionPoint.PRE_MODEL_CALL, InterceptionPoint.PRE_TOOL_CALL})
#: The result CrewAI gives a tool that a hook kept from running.
_BLOCKED = "Tool execution blocked by hook. Tool: "
#: Why CrewAI tells a tool's end although it did not run it.
_NOT_RUN = frozenset({"usage_limit", "unknown_tool"})
#: What `Agent(reasoning=True)` has its model call to state the plan.
_PLAN = ("create_reasoning_plan", "crewai.utilities.reasoning_handler")
_CANCELLATIONS = (asyncio.CancelledError, concurrent.futures.CancelledError, KeyboardInterrupt, GeneratorExit)
_BASE_URL_VARIABLES = {"openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "anthropic": ("ANTHROPIC_BASE_URL",)}


class Runpurse:
    """Attaches Runpurse to CrewAI in this process. Make it before the crews; `close()` detaches it.

    Each kickoff of a crew or flow is a run; `with runpurse.run(session_id=…):` makes one of everything inside it, and
    says whom it is for and what it may cost.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        failure_policy: FailurePolicy = "open",
        context: Mapping[str, str | None] | None = None,
        limit_usd: str | None = None,
        bounds: Mapping[str, int] | None = None,
        timeout_s: float = 2.0,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> None:
        check_context(context or {}, limit_usd, bounds)
        self.client = Client(base_url, api_key, failure_policy=failure_policy, timeout_s=timeout_s, on_problem=on_problem)
        self.interceptor = RunpurseInterceptor(self.client)
        self._context = dict(context or {})
        self._limit_usd = limit_usd
        self._bounds = bounds
        self._equipping = threading.Lock()
        self._unattributed: set[int] = set()
        self._hooks = [
            (point, self._guarded(point, hook))
            for point, hook in (
                (InterceptionPoint.EXECUTION_START, self._execution_start),
                (InterceptionPoint.EXECUTION_END, self._execution_end),
                (InterceptionPoint.PRE_MODEL_CALL, self._before_model),
                (InterceptionPoint.PRE_TOOL_CALL, self._before_tool),
                (InterceptionPoint.POST_TOOL_CALL, self._after_tool),
            )
        ]
        self._handlers: list[tuple[Any, Callable[[Any, Any], None]]] = [
            (LLMCallCompletedEvent, self._listening(self._model_completed)),
            (LLMCallFailedEvent, self._listening(self._model_failed)),
            (ToolUsageFinishedEvent, self._listening(self._tool_finished)),
            (ToolUsageErrorEvent, self._listening(self._tool_failed)),
        ]
        self._seams: list[tuple[Seam, Around]] = [
            (EMIT, self._around_emit),
            (FUNCTION, self._around_function),
            (LITELLM_FUNCTION, self._around_litellm_function),
            *((seam, self._around_litellm) for seam in LITELLM_CALLS),
            *((seam, self._around_litellm_request) for seam in LITELLM_REQUESTS),
            (USAGE, self._around_usage),
            (AGENT_KICKOFF, self._around_agent),
            (AGENT_KICKOFF_ASYNC, self._around_kickoff),
            (CREW_REPLAY, self._around_kickoff),
        ]
        for point, hook in self._hooks:
            register_hook(point, hook)
        for event_type, handler in self._handlers:
            crewai_event_bus.register_handler(event_type, handler)
        for seam, around in self._seams:
            seam.enter(around)
        atexit.register(self._finish)

    @contextmanager
    def run(
        self,
        *,
        run_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        workflow_id: str | None = None,
        customer_id: str | None = None,
        limit_usd: str | None = None,
        bounds: Mapping[str, int] | None = None,
    ) -> Iterator[Run]:
        """Everything inside is one run. Raises `Refused` when the gateway says no; a cancellation stops the run."""
        stated = {
            "run_id": run_id,
            "session_id": session_id,
            "agent_id": agent_id,
            "workflow_id": workflow_id,
            "customer_id": customer_id,
        }
        run = self._new_run(stated, limit_usd, bounds)
        or_raise(run.start())
        with self._inside(run):
            yield run

    @contextmanager
    def _inside(self, run: Run) -> Iterator[None]:
        OPEN_RUNS.add(run)
        outer = RUN.get()
        RUN.set(run)
        try:
            yield
        except _CANCELLATIONS as error:
            run.end("stopped", reason=type(error).__name__)
            raise
        except BaseException as error:
            run.fail(error)
            raise
        else:
            run.end("completed", revenue_usd=run.revenue_usd)
        finally:
            RUN.set(outer)

    def flush(self, timeout_s: float = 30.0) -> int:
        """Delivers what waits, CrewAI's own pending events first. Returns how many reports the gateway did not take."""
        crewai_event_bus.flush(timeout=timeout_s)
        return self.client.flush()

    def close(self) -> None:
        """Detaches from CrewAI and delivers for the last time. Happens by itself when the process ends."""
        atexit.unregister(self._finish)
        for point, hook in self._hooks:
            unregister_hook(point, hook)
        for seam, around in self._seams:
            seam.leave(around)
        crewai_event_bus.flush(timeout=5.0)
        for event_type, handler in self._handlers:
            crewai_event_bus.off(event_type, handler)
        self.client.close()

    def _finish(self) -> None:
        for run in list(OPEN_RUNS):
            if run.client is self.client:
                run.end("stopped", reason="the process ended")
        self.close()

    def _new_run(self, stated: Mapping[str, object], limit_usd: str | None, bounds: Mapping[str, int] | None) -> Run:
        end_abandoned()
        context = {**self._context, **{field: value for field, value in stated.items() if value is not None}}
        return Run(self.client, context, limit_usd=limit_usd or self._limit_usd, bounds=bounds or self._bounds)

    def _own_run(self) -> Run | None:
        run = RUN.get()
        return run if run is not None and run.client is self.client else None

    # ── hooks ──

    def _guarded(self, point: InterceptionPoint, hook: Callable[[Any], object]) -> Callable[[Any], object]:
        """CrewAI swallows what a hook raises, so a fault of ours would let the call through: under `closed` it must not."""

        def guarded(context: Any) -> object:
            try:
                return hook(context)
            except HookAborted:
                raise
            except Exception as fault:
                message = f"A fault of runpurse-crewai at {point.value}: {type(fault).__name__}: {fault}"
                self.client.report(Problem("adapter_fault", message))
                if point in _ASKING and self.client.failure_policy == "closed":
                    raise GatewayUnavailable(message) from fault
                return None

        return guarded

    def _execution_start(self, context: Any) -> None:
        owner = context.crew if context.crew is not None else context.flow
        run = self._begun(owner)
        if run is None:
            return
        run.execution = get_execution_uuid()
        run.outer = RUN.get()
        run.keep_open(_task_or_thread(), owner)
        RUN.set(run)

    def _execution_end(self, context: Any) -> None:
        run = self._own_run()
        owner = context.crew if context.crew is not None else context.flow
        if run is None or not run.is_of(owner):
            return
        RUN.set(run.outer)
        _aside(self._end_kickoff, run, owner, context.status, context.error)

    def _end_kickoff(self, run: Run, owner: Any, status: str, error: BaseException | None) -> None:
        with suppress(Exception):  # CrewAI's own, and its fault: the run ends all the same.
            # What it remembers is saved in the background, with models of the run; CrewAI waits for that right after.
            owner._drain_memory_writes()
        if status == "completed":
            run.end("completed", revenue_usd=run.revenue_usd)
        else:
            run.fail(error)

    def _before_model(self, context: Any) -> None:
        llm = context.llm
        model = str(getattr(llm, "model", None) or llm)
        run = self._run_of(context)
        if run is None:
            return
        key = (_id_of(context.agent), _id_of(context.task))
        refused = run.refused.get((*key, model))
        if refused is not None:
            raise Refused(refused)
        self._catch_up(run, run.last_model.get(key))
        if run.is_ended:
            self._before_model(context)  # It ended while we waited.
            return
        tools = getattr(context.executor, "tools", None) if context.executor is not None else None
        asking = {"max_output_tokens": max_output_tokens(llm), "input_tokens_max": input_tokens_max(context.messages, tools)}
        call = ModelCall(run, model, self._place(context), asking)
        call.key = (*key, model)
        call.where = weakref.ref(_task_or_thread())
        call.will_be_told_of = context.executor is not None and _is_crewais(llm)
        run.open(call)
        run.last_model[key] = call
        MODEL.set(call)
        if self._is_at_gateway(llm):
            call.is_carried = True
            self._equip(llm)
            return
        or_raise(run.ask_model(call))

    def _before_tool(self, context: Any) -> None:
        run = self._run_of(context)
        if run is None:
            return
        self._catch_up(run, run.last_model.get((_id_of(context.agent), _id_of(context.task))))
        call = ToolCall(run, context.tool_name, self._place(context))
        call.outer = TOOL.get()
        call.input = context.tool_input
        call.cached_as = _cached_as(context)
        run.open(call)
        TOOL.set(call)
        LAST_TOOL.set(call)
        decision = run.ask_tool(call, input_hash(context.tool_input))
        if not decision.proceed:
            call.denial = decision.message
        or_raise(decision)

    def _after_tool(self, context: Any) -> str | None:
        call = TOOL.get()
        if call is None or call.run.client is not self.client or call.name != context.tool_name:
            return None
        TOOL.set(call.outer)
        LAST_TOOL.set(call)
        call.is_over = True
        if call.denial is not None:
            return f"{call.name} was not run: {call.denial}"
        if context.tool_input is call.input:
            self._settle_unrun(call, context)
        return None

    @staticmethod
    def _settle_unrun(call: ToolCall, context: Any) -> None:
        """Hooks of the user's come after ours: one may have kept the tool from running, or given it another input than we saw."""
        if str(context.raw_tool_result).startswith(_BLOCKED):
            call.run.release(call, "blocked by another hook: it was not run")
        elif call.cached_as is not None and call.cached_as == _cache_key(context.tool_input):
            call.run.settle_tool(call, is_free=True)

    def _run_of(self, context: Any) -> Run | None:
        """The run a call belongs to; outside of any, a model call or tool is a run of its own."""
        run = current_run()
        role = _role_of(context.agent)
        if run is None:
            return self._lone({"agent_id": role})
        if run.client is not self.client:
            return None  # Another attachment's.
        if not run.is_ended:
            return run
        if run.status == "completed":
            # What went on in the background, such as an agent's memory, is done for the same customer, by the same caps.
            stated = {**run.context, "run_id": None, "agent_id": role or run.context.get("agent_id")}
            return self._lone(stated, run.limit_usd, run.bounds)
        raise GatewayUnavailable(f"Run {run.run_id} has ended: nothing more is done in it.")

    def _lone(self, stated: Mapping[str, object], limit_usd: str | None = None, bounds: Mapping[str, int] | None = None) -> Run:
        lone = self._new_run(stated, limit_usd, bounds)
        lone.is_lone = True
        if lone.limit_usd is not None or lone.bounds:
            or_raise(lone.start())
        lone.keep_open(_task_or_thread())
        return lone

    def _place(self, context: Any) -> dict[str, object]:
        tool = TOOL.get()
        while tool is not None and (tool.is_over or tool.is_denied):
            tool = tool.outer
        return {
            "agent_id": usable_id(_role_of(context.agent)),
            "parent_step_id": tool.step_id if tool is not None else None,
        }

    @staticmethod
    def _catch_up(run: Run, last_model: ModelCall | None) -> None:
        """The end of what came before must be told before the next question, or its hold would still count."""
        if last_model is not None and not last_model.is_over and not _is_beside(last_model):
            run.record_unheard(last_model)  # Its end would have been told by now.
        run.wait_settled()

    def _is_at_gateway(self, llm: Any) -> bool:
        url = getattr(llm, "base_url", None) or getattr(llm, "api_base", None)
        for variable in _BASE_URL_VARIABLES.get(str(getattr(llm, "provider", "")), ()):
            url = url or os.environ.get(variable)
        if not isinstance(url, str):
            return False
        parts = urlsplit(url)
        return self.client.serves(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))

    def _equip(self, llm: Any) -> None:
        """An LLM that points at the gateway needs our headers, whoever forgot to give it the interceptor."""
        if getattr(llm, "is_litellm", False):
            return  # It has a field for an interceptor and makes no use of it; its requests are given their headers.
        with self._equipping:
            worn = getattr(llm, "interceptor", None)
            if isinstance(worn, RunpurseInterceptor) and worn.client is self.client:
                return
            if "interceptor" in getattr(type(llm), "model_fields", {}):
                llm.interceptor = self.interceptor if worn is None else RunpurseInterceptor(self.client, worn)
                llm._client = llm._async_client = None  # Both are made anew, with it, when they are needed.
                return
            self._tell_unattributed(llm, "takes no interceptor")

    def _tell_unattributed(self, llm: Any, why: str) -> None:
        """Once for each LLM."""
        if id(llm) in self._unattributed:
            return
        self._unattributed.add(id(llm))
        what = f"{type(llm).__name__} {llm.model} points at the gateway and {why}"
        self.client.report(Problem("not_attributed", f"{what}: its calls are runs of their own."))

    # ── what CrewAI asks no hook before ──

    @contextmanager
    def _around_kickoff(self, owner: Any, *_args: Any, **_named: Any) -> Iterator[None]:
        run = self._guarded(InterceptionPoint.EXECUTION_START, self._begun)(owner)
        if not isinstance(run, Run):
            yield
            return
        with self._inside(run):
            yield

    @contextmanager
    def _around_agent(self, agent: Any, *_args: Any, **_named: Any) -> Iterator[None]:
        if is_inside_event_loop():
            yield  # It only makes the coroutine of `kickoff_async`.
            return
        with self._around_kickoff(agent):
            yield

    def _begun(self, owner: Any) -> Run | None:
        outer = current_run()
        if outer is not None and not outer.is_ended:
            return None  # A crew or an agent inside a run, another crew or a flow is part of it.
        run = self._new_run({"agent_id": _agent_of(owner)}, None, None)
        or_raise(run.start())
        return run

    @contextmanager
    def _around_function(self, _llm: Any, *_args: Any, **told: Any) -> Iterator[Mapping[str, object] | None]:
        call = self._guarded(InterceptionPoint.PRE_TOOL_CALL, self._before_function)(told)
        if not isinstance(call, ToolCall):
            yield None
            return
        functions = told["available_functions"]
        try:
            yield {"available_functions": {**functions, call.name: _within(call, functions[call.name])}}
        finally:
            TOOL.set(call.outer)
            call.is_over = True

    @contextmanager
    def _around_litellm_function(
        self, llm: Any, tool_calls: Any, available_functions: Any = None, from_task: Any = None, from_agent: Any = None, **_named: Any
    ) -> Iterator[Mapping[str, object] | None]:
        """LiteLLM's LLM is given all that the answer asks for, and runs the first."""
        function = getattr(next(iter(tool_calls or ()), None), "function", None)
        told = {
            "function_name": sanitize_tool_name(str(getattr(function, "name", ""))),
            "function_args": getattr(function, "arguments", None),
            "available_functions": available_functions or {},
            "from_task": from_task,
            "from_agent": from_agent,
        }
        with self._around_function(llm, **told) as changes:
            yield changes

    @contextmanager
    def _around_litellm(self, _llm: Any, *_args: Any, **_named: Any) -> Iterator[None]:
        yield
        call = MODEL.get()
        if call is None or call.run.client is not self.client or call.is_over:
            return
        call.run.record_model(call, usage=call.usage)
        if call.run.is_lone:
            _aside(call.run.end, "completed")

    @contextmanager
    def _around_litellm_request(self, llm: Any, *args: Any, **named: Any) -> Iterator[Mapping[str, object] | None]:
        call = MODEL.get()
        if call is None or call.run.client is not self.client or not call.is_carried:
            yield None
        elif named.get("response_model") is not None:
            self._tell_unattributed(llm, "has its structured output made by Instructor")
            yield None
        else:
            params = named["params"] if "params" in named else args[0]
            yield {"params": {**params, "extra_headers": {**params.get("extra_headers", {}), **call.headers()}}}

    def _before_function(self, told: Mapping[str, Any]) -> ToolCall | None:
        asked = MODEL.get()
        if asked is not None and asked.run.client is not self.client:
            return None
        name = told["function_name"]
        function = told["available_functions"].get(name)
        if function is None:
            return None
        if asked is not None:
            # Its answer is there, and is to be paid before the function is asked about.
            asked.told_id = CALL_ID.get()
            asked.run.record_model(asked, usage=asked.usage)
        if (name, getattr(function, "__module__", None)) == _PLAN:
            return None  # Nothing but the shape of an answer.
        context = SimpleNamespace(agent=told.get("from_agent"), task=told.get("from_task"))
        run = asked.run if asked is not None and asked.run.is_lone and not asked.run.is_ended else self._run_of(context)
        if run is None:
            return None
        run.wait_settled()
        call = ToolCall(run, name, self._place(context))
        call.outer = TOOL.get()
        run.open(call)
        or_raise(run.ask_tool(call, input_hash(told["function_args"])))
        TOOL.set(call)
        LAST_TOOL.set(call)
        return call

    @contextmanager
    def _around_usage(self, _llm: Any, *told: Any, **_named: Any) -> Iterator[None]:
        call = MODEL.get()
        if call is not None and call.run.client is self.client:
            usage = told[0] if told else None
            dump = getattr(usage, "model_dump", None)  # LiteLLM's is an object.
            if call.usage is not None and not call.is_over and not call.is_carried:
                # CrewAI threw the first answer away and asked again, which it tells nobody: for one that declines a given shape, say.
                call.run.record_model(self._beside(call), usage=call.usage)
            call.usage = usage_of(usage if dump is None else dump())
        yield

    @contextmanager
    def _around_emit(self, _bus: object, _source: object, event: object) -> Iterator[None]:
        """What is known at once of a call that CrewAI tells the listener of later, in another thread."""
        if isinstance(event, (LLMCallStartedEvent, LLMCallCompletedEvent, LLMCallFailedEvent)):
            call = self._own_model(event)
            if call is not None and isinstance(event, LLMCallStartedEvent):
                call.is_told_of = True
            elif call is not None:
                call.is_over = True
        yield

    # ── the listener: CrewAI calls these in threads of its own, in a copy of the context the event was emitted in ──

    def _listening(self, handle: Callable[[Any], None]) -> Callable[[Any, Any], None]:
        def handler(source: Any, event: Any) -> None:
            try:
                handle(event)
            except Exception as fault:
                self.client.report(Problem("adapter_fault", f"An event of CrewAI could not be read: {type(fault).__name__}: {fault}"))

        return handler

    def _own_model(self, event: Any) -> ModelCall | None:
        call = MODEL.get()
        if call is None or call.run.client is not self.client:
            return None
        is_of_another_try = call.call_id is not None and call.call_id != event.call_id
        return None if is_of_another_try else call

    def _model_completed(self, event: Any) -> None:
        call = self._own_model(event)
        if call is None:
            return
        if call.is_settled.is_set() and not call.is_carried and call.told_id not in (None, event.call_id):
            call = self._beside(call)
        call.told_id = event.call_id
        call.run.record_model(call, usage=usage_of(event.usage) or call.usage)
        if call.run.is_lone:
            call.run.end("completed")

    @staticmethod
    def _beside(asked: ModelCall) -> ModelCall:
        """A call that CrewAI made within another and told no hook of: nobody asked for it, so it is charged as it was."""
        call = ModelCall(asked.run, asked.name, {**asked.place}, asked.asking)
        call.run.open(call)
        return call

    def _model_failed(self, event: Any) -> None:
        call = self._own_model(event)
        if call is None:
            return
        usage = NOTHING if call.last_status is not None and call.last_status >= 400 else call.usage
        call.run.record_model(call, error=event.error, usage=usage)
        if call.run.is_lone:
            call.run.end("failed", reason=event.error)

    def _tool_finished(self, event: Any) -> None:
        call = LAST_TOOL.get()
        if call is not None and call.run.client is self.client and call.name == event.tool_name:
            failure = event.failure
            if failure is not None and failure.reason in _NOT_RUN:
                call.run.release(call, failure.message)
            else:
                call.run.settle_tool(call, None if failure is None else failure.message, is_free=event.from_cache)
            if call.run.is_lone and not call.run.last_model:
                call.run.end("completed")

    def _tool_failed(self, event: Any) -> None:
        call = TOOL.get() or LAST_TOOL.get()
        if call is not None and call.run.client is self.client and call.name == event.tool_name:
            call.run.settle_tool(call, event.error)
            if call.run.is_lone and not call.run.last_model:
                call.run.end("failed", reason=event.error)


def _within(call: ToolCall, function: Callable[..., object]) -> Callable[..., object]:
    """CrewAI tells the ends of the function and of the model call right after it, where what it called itself must be behind us."""
    asked = MODEL.get()

    def work(*args: Any, **named: Any) -> object:
        try:
            return function(*args, **named)
        finally:
            MODEL.set(asked)
            TOOL.set(call)
            LAST_TOOL.set(call)

    return work


def _task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # No loop runs in this thread.


def _task_or_thread() -> asyncio.Task[object] | threading.Thread:
    return _task() or threading.current_thread()


def _aside(work: Callable[..., object], *args: object) -> None:
    """Does what may wait for the gateway: the others in the loop do not wait, as they don't for what CrewAI itself does at an end."""
    if _task() is not None and len(asyncio.all_tasks()) > 1:
        threading.Thread(target=work, args=args).start()
    else:
        work(*args)


def _is_beside(call: ModelCall) -> bool:
    """Is it under way in another task or thread, so that nobody here waited for its end?"""
    place = None if call.where is None else call.where()
    if call.is_over or place is None or place is _task_or_thread():
        return False
    return not place.done() if isinstance(place, asyncio.Task) else place.is_alive()


def _role_of(agent: Any) -> str | None:
    role = getattr(agent, "role", None)
    return role if isinstance(role, str) else None


def _id_of(thing: Any) -> str | None:
    return None if thing is None else str(getattr(thing, "id", id(thing)))


def _agent_of(owner: Any) -> str | None:
    """A crew of one agent is that agent, as an agent by itself is; of several, it goes by its own name."""
    role = _role_of(owner) or _role_of(getattr(owner, "agent", None))
    if role is not None:
        return role
    agents = getattr(owner, "agents", None)
    if isinstance(agents, list) and len(agents) == 1:
        return _role_of(agents[0])
    name = getattr(owner, "name", None)
    return name if isinstance(name, str) else None


def _is_crewais(llm: Any) -> bool:
    """Is it called by code of CrewAI's, which tells that a call begins? A model of the user's own may tell nothing."""
    return all(str(getattr(getattr(llm, name, None), "__module__", "")).startswith("crewai.") for name in ("call", "acall"))


def _cached_as(context: Any) -> str | None:
    """The key under which the crew's cache holds the answer to this tool call; None when it holds none."""
    cache = getattr(getattr(context.agent, "tools_handler", None), "cache", None)
    key = _cache_key(context.tool_input)
    if cache is None or key is None or cache.read(tool=context.tool_name, input=key) is None:
        return None
    return key


def _cache_key(tool_input: Any) -> str | None:
    try:
        return json.dumps(tool_input) if tool_input else ""
    except (TypeError, ValueError, RecursionError):
        return None  # CrewAI makes its key the same way, so nothing of this input can be in there.
