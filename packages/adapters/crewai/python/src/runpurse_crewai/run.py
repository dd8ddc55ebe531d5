"""One run as the adapter reports it: what is asked, what is held, what is settled."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from .call import LATE_S, Call, ModelCall, ToolCall, new_id
from .client import Client
from .decision import Decision, Refusal, refusal_of
from .tasks import may_end
from .translate import error_text, usable_id

RunStatus = Literal["completed", "failed", "stopped"]


CONTEXT_FIELDS = frozenset({"run_id", "session_id", "agent_id", "workflow_id", "customer_id"})
BOUNDS = frozenset({"max_runtime_s", "max_steps", "max_requests", "max_tool_calls", "max_retries", "max_repeats"})
_USD = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)


def check_context(context: Mapping[str, object], limit_usd: str | None, bounds: Mapping[str, int] | None) -> None:
    """A cap that can't be read would be no cap: that is the caller's mistake and is raised, before anything is spent."""
    for known, given in ((CONTEXT_FIELDS, context), (BOUNDS, bounds or {})):
        strange = sorted(set(given) - known)
        if strange:
            raise ValueError(f"{strange[0]!r} is none of {', '.join(sorted(known))}")
    if limit_usd is not None and not (isinstance(limit_usd, str) and _USD.fullmatch(limit_usd)):
        raise ValueError(f'limit_usd must be a dollar amount such as "0.50", not {limit_usd!r}')
    for name, bound in (bounds or {}).items():
        if not isinstance(bound, int) or isinstance(bound, bool) or bound < 0:
            raise ValueError(f"{name} must be a whole number, not {bound!r}")


class Run:
    """Every event states what it is, so that no gateway has to guess."""

    def __init__(
        self, client: Client, context: Mapping[str, object], *, limit_usd: str | None = None, bounds: Mapping[str, int] | None = None
    ) -> None:
        self.client = client
        check_context(context, limit_usd, bounds)
        self.context: dict[str, object] = {field: text for field, value in context.items() if (text := usable_id(value)) is not None}
        self.run_id = str(self.context.setdefault("run_id", new_id("run")))
        self.limit_usd = limit_usd
        self.bounds = dict(bounds or {})
        self.revenue_usd: str | None = None
        """What the run earned; set it before the run ends."""
        self.execution: str | None = None
        """CrewAI's id of the kickoff that the run began with."""
        self.outer: Run | None = None
        self.is_lone = False
        """A single call that belongs to no run."""
        self.status: RunStatus | None = None
        """How it ended."""
        self._place: weakref.ref[Any] | None = None
        self._owner: weakref.ref[Any] | None = None
        self.last_model: dict[object, ModelCall] = {}
        """By agent and task."""
        self.refused: dict[object, Refusal] = {}
        """What was refused on the way, by whose call it was: the same call tried again is refused without asking."""
        self._open: dict[str, Call] = {}
        self._sequence = 0
        self._lock = threading.Lock()

    @property
    def is_ended(self) -> bool:
        return self.status is not None

    def keep_open(self, place: object, owner: object = None) -> None:
        """
        `place`: the task or thread it runs in; `owner`: the crew or flow whose end is the run's, if any. When either is gone,
        nobody will end the run any more.
        """
        # Kept to be called when they are gone.
        self._place = weakref.ref(place, self._abandon)
        self._owner = None if owner is None else weakref.ref(owner, self._abandon)
        OPEN_RUNS.add(self)

    def is_of(self, owner: object) -> bool:
        return self._owner is not None and self._owner() is owner

    def _abandon(self, _gone: object) -> None:
        # Called by the garbage collector, wherever it strikes: there nothing may wait, for a lock or for the gateway.
        if not self.is_ended:
            _ABANDONED.append(self)

    def start(self) -> Decision:
        """Says that the run begins, with its cap and bounds. A denied run must not begin."""
        metadata = {"limit_usd": self.limit_usd, "bounds": self.bounds or None}
        return self.client.ask(self._event("run.started", {}, "planning", BEFORE, metadata))

    def open(self, call: Call) -> None:
        call.is_taken = call.is_over = False
        call.is_settled.clear()
        with self._lock:
            self._open[call.step_id] = call

    def ask_model(self, call: ModelCall) -> Decision:
        decision = self.client.ask(
            self._event("llm.call.started", self._of(call), "llm_call", BEFORE, {"model": call.name, **call.asking}, name=call.name)
        )
        if not decision.proceed:
            self._leave(call, decision)
        return decision

    def record_model(
        self,
        call: ModelCall,
        *,
        usage: Mapping[str, object] | None = None,
        error: object = None,
        is_aborted: bool = False,
        ends: bool = True,
    ) -> bool:
        """After the call, however it ended; once, then False. `ends=False`: one try of it failed, and its client tries again."""
        if ends and not self._take(call):
            return False
        try:
            if not call.is_carried:  # Else the gateway saw it.
                self._tell_model(call, usage, error, is_aborted)
        finally:
            if ends:
                self._close(call)
        return True

    def record_unheard(self, call: ModelCall) -> None:
        """A call whose end was never told: charged by what is known of it, and released where it was never made."""
        if call.was_never_made():
            self.release(call, "blocked by another hook: it was not made")
        else:
            self.record_model(call, usage=call.usage)

    def _tell_model(self, call: ModelCall, usage: Mapping[str, object] | None, error: object, is_aborted: bool) -> None:
        status = "aborted" if is_aborted else "completed" if error is None else "failed"
        metadata = {
            "model": call.name,
            "usage": usage,
            "status": status,
            "message": None if error is None else error_text(error),
        }
        kind = "llm.call.completed" if status == "completed" else "llm.call.failed"
        self.client.record(self._event(kind, self._of(call), "llm_call", AFTER, metadata, name=call.name))

    def ask_tool(self, call: ToolCall, input_hash: str | None) -> Decision:
        event = self._event("tool.call.requested", self._of(call), "tool_call", BEFORE, {"tool_name": call.name}, name=call.name)
        decision = self.client.ask({**event, **({"input_hash": input_hash} if input_hash else {})})
        if decision.proceed:
            return decision
        call.is_denied = True
        self._leave(call, decision)
        return decision

    def settle_tool(self, call: ToolCall, error: object = None, *, is_free: bool = False) -> None:
        """Once per call that was allowed. `is_free`: its result came out of the crew's cache, so it costs nothing."""
        if not self._take(call):
            return
        kind = "tool.call.completed" if error is None else "tool.call.failed"
        metadata = {
            "tool_name": call.name,
            "from_cache": is_free or None,
            "status": "completed" if error is None else "failed",
            "message": None if error is None else error_text(error),
        }
        try:
            self.client.record(self._event(kind, self._of(call), "tool_call", AFTER, metadata, name=call.name))
        finally:
            self._close(call)

    def release(self, call: ModelCall | ToolCall, why: str) -> None:
        """It was asked for and is not made: what is held for it is given back."""
        if not self._take(call):
            return
        is_model = isinstance(call, ModelCall)
        kind, step_kind = ("llm.call.failed", "llm_call") if is_model else ("tool.call.failed", "tool_call")
        metadata = {"model" if is_model else "tool_name": call.name, "status": "failed", "released": True, "message": why}
        try:
            self.client.record(self._event(kind, self._of(call), step_kind, AFTER, metadata, name=call.name))
        finally:
            self._close(call)

    def _leave(self, call: ModelCall | ToolCall, decision: Decision) -> None:
        """It may not be made. Where nobody answered, the question may have been heard all the same."""
        if decision.type == "unavailable":
            self.release(call, "the gateway gave no answer, so it was not made")
        else:
            self.forget(call)

    def forget(self, call: Call) -> None:
        """Closes a call of which nothing is to be told."""
        if self._take(call):
            self._close(call)

    def _take(self, call: Call) -> bool:
        """True for the one who may tell the call's end."""
        with self._lock:
            if call.is_taken or call.step_id not in self._open:
                return False
            call.is_taken = call.is_over = True
            return True

    def _close(self, call: Call) -> None:
        """Its end is told: whoever waits for that goes on."""
        with self._lock:
            self._open.pop(call.step_id, None)
        call.is_settled.set()

    def wait_settled(self) -> None:
        """Waits until the ends of calls that are over have reached us: of tools side by side, another thread tells them."""
        with self._lock:
            waited = [call for call in self._open.values() if call.is_over]
        for call in waited:
            call.is_settled.wait(call.patience_s)

    def fail(self, error: BaseException | None) -> None:
        refusal = refusal_of(error)
        reason = refusal.message if refusal is not None else str(error) or type(error).__name__
        is_paused = refusal is not None and refusal.code == "run_paused" and refusal.details.get("run_id") == self.run_id
        self.end("failed", reason=reason, is_paused=is_paused)

    def end(self, status: RunStatus, *, reason: object = None, revenue_usd: str | None = None, is_paused: bool = False) -> None:
        """
        Ends the run, once, and delivers its events. What is still under way is cut off and told as such. One that is paused at the
        gateway ends here alone: there it stays open for whoever resumes it.
        """
        until = time.monotonic() + (LATE_S if status == "completed" else 1.0)
        waited: set[Call] = set()
        while True:
            with self._lock:
                if self.is_ended:
                    return
                left = [call for call in self._open.values() if call not in waited and may_end(call, status == "completed")]
                if not left or status == "stopped" or time.monotonic() > until:
                    self.status = status
                    OPEN_RUNS.discard(self)
                    left = list(self._open.values())
                    break
            for call in left:
                call.is_settled.wait(max(0.0, min(call.patience_s, until - time.monotonic())))
            waited.update(left)  # Others may have begun meanwhile, in the background.
        for call in left:
            if isinstance(call, ModelCall) and (status == "completed" or (status == "failed" and call.was_never_made())):
                self.record_unheard(call)
            elif isinstance(call, ModelCall):
                # Told before it is cut off: what its client then makes of that is no end of its own.
                if self.record_model(call, error=reason or "the run ended before the call did", usage=call.usage, is_aborted=True):
                    call.cut()
            elif isinstance(call, ToolCall):
                self.settle_tool(call, "the run ended before the tool did")
        if not is_paused:
            is_completed = status == "completed"
            metadata = {"status": status, "message": None if reason is None else error_text(reason), "revenue_usd": revenue_usd}
            kind, step_kind = ("run.completed", "final_answer") if is_completed else ("run.failed", "error_recovery")
            self.client.record(self._event(kind, {}, step_kind, AFTER, metadata))
        if not self.is_lone:  # Whoever made a single call does not wait for that.
            self.client.deliver(self.run_id)

    @staticmethod
    def _of(call: Call) -> dict[str, object]:
        place = dict(call.place)
        if isinstance(call, ToolCall):
            place["tool_call_id"] = call.step_id
        if call.attempt > 1:
            place["attempt"] = call.attempt
        return place

    def _event(
        self,
        kind: str,
        place: Mapping[str, object],
        step_kind: str,
        phase: Mapping[str, str],
        metadata: Mapping[str, object],
        **fields: object,
    ) -> dict[str, Any]:
        with self._lock:
            self._sequence += 1
            sequence = self._sequence
        event = {
            "version": "2026-05-27",
            "event_id": new_id("evt"),
            "type": kind,
            "source": "crewai",
            "event_source_trust": "adapter_detected",
            **phase,
            "step_kind": step_kind,
            "step_source": "runtime",
            "step_confidence": "high",
            "sequence": sequence,
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **self.context,
            **place,
            **fields,
            "metadata": {key: value for key, value in metadata.items() if value is not None},
        }
        return {key: value for key, value in event.items() if value is not None}


BEFORE = {"event_phase": "before", "policy_stage": "pre_action"}
AFTER = {"event_phase": "after", "policy_stage": "post_action"}

#: Runs that nobody has ended yet; at the end of the process they are told as stopped.
OPEN_RUNS: set[Run] = set()
#: Those of them whose place or owner is gone.
_ABANDONED: deque[Run] = deque()


def end_abandoned() -> None:
    with contextlib.suppress(IndexError):  # Another thread was faster.
        while _ABANDONED:
            _ABANDONED.popleft().end("stopped", reason="it was interrupted")
