"""What CrewAI tells and asks, handed to the gateway: hooks that can say no, a listener for the ends, headers on the wire."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from crewai.events import crewai_event_bus
from crewai.execution import get_execution_uuid
from crewai.hooks import HookAborted, InterceptionPoint, register_hook, unregister_hook
from crewai.utilities.agent_utils import is_inside_event_loop
from crewai.utilities.string_utils import sanitize_tool_name

from .call import ModelCall, ToolCall
from .client import Client, FailurePolicy, Problem
from .decision import GatewayUnavailable, Refused, or_raise
from .interceptor import CALL_ID, RunpurseInterceptor
from .listener import Listener
from .run import OPEN_RUNS, Run, check_context, end_abandoned
from .seams import AGENT_KICKOFF, AGENT_KICKOFF_ASYNC, CREW_REPLAY, FUNCTION, LITELLM_FUNCTION, LITELLM_REQUESTS, Around, Seam
from .state import LAST_TOOL, MODEL, RUN, TOOL, current_run
from .tasks import aside, is_beside, task_or_thread
from .translate import (
    agent_of,
    cache_key,
    cached_as,
    id_of,
    input_hash,
    input_tokens_max,
    is_crewais,
    max_output_tokens,
    role_of,
    usable_id,
)

#: Where failing open would let a call be made that nobody allowed.
_ASKING = frozenset({InterceptionPoint.EXECUTION_START, InterceptionPoint.PRE_MODEL_CALL, InterceptionPoint.PRE_TOOL_CALL})
#: The result CrewAI gives a tool that a hook kept from running.
_BLOCKED = "Tool execution blocked by hook. Tool: "
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
        listener = Listener(self.client)
        self._seams: list[tuple[Seam, Around]] = [
            *listener.seams,
            (FUNCTION, self._around_function),
            (LITELLM_FUNCTION, self._around_litellm_function),
            *((seam, self._around_litellm_request) for seam in LITELLM_REQUESTS),
            (AGENT_KICKOFF, self._around_agent),
            (AGENT_KICKOFF_ASYNC, self._around_kickoff),
            (CREW_REPLAY, self._around_kickoff),
        ]
        for point, hook in self._hooks:
            register_hook(point, hook)
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
        run.keep_open(task_or_thread(), owner)
        RUN.set(run)

    def _execution_end(self, context: Any) -> None:
        run = self._own_run()
        owner = context.crew if context.crew is not None else context.flow
        if run is None or not run.is_of(owner):
            return
        RUN.set(run.outer)
        aside(self._end_kickoff, run, owner, context.status, context.error)

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
        key = (id_of(context.agent), id_of(context.task))
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
        call.where = weakref.ref(task_or_thread())
        call.will_be_told_of = context.executor is not None and is_crewais(llm)
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
        self._catch_up(run, run.last_model.get((id_of(context.agent), id_of(context.task))))
        call = ToolCall(run, context.tool_name, self._place(context))
        call.outer = TOOL.get()
        call.input = context.tool_input
        call.cached_as = cached_as(context)
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
        elif call.cached_as is not None and call.cached_as == cache_key(context.tool_input):
            call.run.settle_tool(call, is_free=True)

    def _run_of(self, context: Any) -> Run | None:
        """The run a call belongs to; outside of any, a model call or tool is a run of its own."""
        run = current_run()
        role = role_of(context.agent)
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
        lone.keep_open(task_or_thread())
        return lone

    def _place(self, context: Any) -> dict[str, object]:
        tool = TOOL.get()
        while tool is not None and (tool.is_over or tool.is_denied):
            tool = tool.outer
        return {
            "agent_id": usable_id(role_of(context.agent)),
            "parent_step_id": tool.step_id if tool is not None else None,
        }

    @staticmethod
    def _catch_up(run: Run, last_model: ModelCall | None) -> None:
        """The end of what came before must be told before the next question, or its hold would still count."""
        if last_model is not None and not last_model.is_over and not is_beside(last_model):
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
        run = self._new_run({"agent_id": agent_of(owner)}, None, None)
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
