"""The last stop before the wire: ids on calls that go through the gateway, and each try of a call told apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from crewai.hooks import HookAborted
from crewai.llms import base_llm
from crewai.llms.hooks.base import BaseInterceptor

from .call import NOTHING, ModelCall
from .client import Client, Problem
from .decision import or_raise, refusal_in
from .state import MODEL, TOOL, current_run
from .translate import HEADER_BY_FIELD

_PORTS = {"http": 80, "https": 443}
#: What a model call is posted to; the same clients also count tokens and list models.
_MODEL_PATH = re.compile(r"/(?:chat/completions|completions|responses|messages|embeddings)/?$")
#: What may be allowed the next time: a run goes on, a budget is raised, a smaller call fits.
_PASSING = frozenset({"rate_limited", "run_paused", "budget_exceeded"})
#: CrewAI's id of the call under way; without it a late end of a failed try could be taken for the next one's.
CALL_ID: ContextVar[str | None] = getattr(base_llm, "_current_call_id", None) or ContextVar("runpurse_call_id", default=None)


class RunpurseInterceptor(BaseInterceptor[Any, Any]):
    """Give it to an LLM as its `interceptor`; the messages are httpx requests and responses.

    `inner`: an interceptor the LLM had before; it stands between this one and the wire.
    """

    def __init__(self, client: Client, inner: BaseInterceptor[Any, Any] | None = None) -> None:
        self.client = client
        self._inner = inner

    def on_outbound(self, message: Any) -> Any:
        self._guarded(self._sending, message)
        return message if self._inner is None else self._inner.on_outbound(message)

    def on_inbound(self, message: Any) -> Any:
        message = message if self._inner is None else self._inner.on_inbound(message)
        if message.status_code >= 400:
            message.read()
        self._guarded(self._answered, message)
        return message

    async def aon_outbound(self, message: Any) -> Any:
        self._guarded(self._sending, message)
        return message if self._inner is None else await self._inner.aon_outbound(message)

    async def aon_inbound(self, message: Any) -> Any:
        message = message if self._inner is None else await self._inner.aon_inbound(message)
        if message.status_code >= 400:
            await message.aread()
        self._guarded(self._answered, message)
        return message

    def _guarded(self, work: Callable[[Any], None], message: Any) -> None:
        try:
            work(message)
        except HookAborted:
            raise
        except Exception as fault:
            self.client.report(Problem("adapter_fault", f"A model call is not attributed: {type(fault).__name__}: {fault}"))

    def _sending(self, request: Any) -> None:
        url = request.url
        if _MODEL_PATH.search(url.path) is None:
            return
        is_carried = self.client.serves(url.host, url.port or _PORTS.get(url.scheme))
        call = self._call()
        if call is None:
            return
        if call.refusal is not None:
            raise call.refusal
        is_again = call.requests > 0 and not call.is_redirected
        if is_again:
            self._try_again(call)
        if not is_carried:
            # A redirect would take them along.
            for name in HEADER_BY_FIELD.values():
                request.headers.pop(name, None)
        if not is_carried and (is_again or call.is_carried):
            call.is_carried = False
            decision = call.run.ask_model(call)
            try:
                or_raise(decision)
            except HookAborted as refused:
                call.refusal = refused
                raise
        call.requests += 0 if call.is_redirected else 1
        call.is_redirected = False
        call.is_carried = is_carried
        call.call_id = CALL_ID.get()
        call.last_status = None
        call.is_sent = True
        if is_carried:
            request.headers.update(call.headers(_retries(request)))

    def _call(self) -> ModelCall | None:
        """The call of this request: the one that was asked about, or one that CrewAI makes beside it, such as a summary."""
        call = MODEL.get()
        if call is not None and call.run.client is self.client and not call.has_answer:
            return call
        run = current_run() if call is None else call.run
        if run is None or run.client is not self.client or run.is_ended or (run.is_lone and (call is None or call.is_over)):
            return None
        if call is not None and call.usage is not None:
            run.record_model(call, usage=call.usage)  # CrewAI throws the answer away, and tells the end of its next request.
        tool = TOOL.get()
        place = dict(call.place) if call is not None else {"parent_step_id": tool.step_id if tool is not None else None}
        beside = ModelCall(run, call.name if call is not None else "unknown", place, call.asking if call is not None else {})
        beside.is_carried = True  # Not asked about yet.
        run.open(beside)
        MODEL.set(beside)
        return beside

    def _try_again(self, call: ModelCall) -> None:
        usage = NOTHING if call.last_status is not None and call.last_status >= 400 else call.usage
        if not call.is_taken:  # CrewAI has told it where the try again is its own.
            call.run.record_model(call, error=f"attempt {call.attempt} failed", usage=usage, ends=False)
        call.run.open(call)
        call.usage = None
        call.attempt += 1

    def _answered(self, response: Any) -> None:
        call = MODEL.get()
        if call is None or call.run.client is not self.client or not call.is_sent:
            return
        call.is_sent = False
        if 300 <= response.status_code < 400:
            call.is_redirected = True
            return
        call.last_status = response.status_code
        if response.status_code < 400:
            call.has_answer = True
            stream = response.extensions.get("network_stream")
            call.socket = stream.get_extra_info("socket") if stream is not None else None
            if call.run.is_ended:
                call.cut()
        elif call.is_carried and "x-runpurse-refusal" in response.headers:
            refusal = refusal_in(json.loads(response.content))
            if refusal is not None and refusal.code not in _PASSING:
                call.run.refused[call.key] = refusal


def _retries(request: Any) -> int:
    text = str(request.headers.get("x-stainless-retry-count", "0"))
    return int(text) if text.isascii() and text.isdigit() else 0
