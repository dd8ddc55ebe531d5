"""What CrewAI tells of its calls: their ends, and what they used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crewai.events.types.llm_events import LLMCallCompletedEvent, LLMCallFailedEvent, LLMCallStartedEvent
from crewai.events.types.tool_usage_events import ToolUsageErrorEvent, ToolUsageFinishedEvent

from .call import NOTHING, ModelCall
from .client import Client, Problem
from .decision import keep_refusal
from .seams import EMIT, LITELLM_CALLS, USAGE, Around, Seam
from .state import LAST_TOOL, MODEL, TOOL
from .translate import usage_of

#: Why CrewAI tells a tool's end although it did not run it.
_NOT_RUN = frozenset({"usage_limit", "unknown_tool"})


class Listener:
    """
    Hears what CrewAI tells where it emits it, in the thread and context of the call: its own listeners are told later, side by side
    with the next question, and not at all within `scoped_handlers()`.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._handlers: dict[type, Callable[[Any], None]] = {
            LLMCallStartedEvent: self._model_started,
            LLMCallCompletedEvent: self._model_completed,
            LLMCallFailedEvent: self._model_failed,
            ToolUsageFinishedEvent: self._tool_finished,
            ToolUsageErrorEvent: self._tool_failed,
        }
        self.seams: list[tuple[Seam, Around]] = [
            (EMIT, self._around_emit),
            (USAGE, self._around_usage),
            *((seam, self._around_litellm) for seam in LITELLM_CALLS),
        ]

    @contextmanager
    def _around_emit(self, _bus: object, _source: object, event: object) -> Iterator[None]:
        handle = self._handlers.get(type(event))
        if handle is not None:
            with self._faults_told():
                handle(event)
        yield

    @contextmanager
    def _around_usage(self, _llm: Any, *told: Any, **_named: Any) -> Iterator[None]:
        call = MODEL.get()
        if call is not None and call.run.client is self.client:
            with self._faults_told():
                usage = told[0] if told else None
                dump = getattr(usage, "model_dump", None)  # LiteLLM's is an object.
                if call.usage is not None and not call.is_over and not call.is_carried:
                    # CrewAI threw the first answer away and asked again, which it tells nobody: for one that declines a given shape, say.
                    call.run.record_model(self._beside(call), usage=call.usage)
                call.usage = usage_of(usage if dump is None else dump())
        yield

    @contextmanager
    def _around_litellm(self, _llm: Any, *_args: Any, **_named: Any) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            keep_refusal(error)  # CrewAI raises it anew, and then the gateway's answer is behind it no more.
            self._end_untold(error)
            raise
        self._end_untold(None)

    def _end_untold(self, error: BaseException | None) -> None:
        call = MODEL.get()
        if call is None or call.run.client is not self.client or call.is_over:
            return
        with self._faults_told():
            call.run.record_model(call, error=error, usage=call.usage)
            if call.run.is_lone and error is None:
                call.run.end("completed")
            elif call.run.is_lone:
                call.run.fail(error)

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        """A fault of ours is no fault of the crew's."""
        try:
            yield
        except Exception as fault:
            self.client.report(Problem("adapter_fault", f"An event of CrewAI could not be read: {type(fault).__name__}: {fault}"))

    def _own_model(self, event: Any) -> ModelCall | None:
        call = MODEL.get()
        if call is None or call.run.client is not self.client:
            return None
        is_of_another_try = call.call_id is not None and call.call_id != event.call_id
        return None if is_of_another_try else call

    def _model_started(self, event: Any) -> None:
        call = self._own_model(event)
        if call is not None:
            call.is_told_of = True

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
