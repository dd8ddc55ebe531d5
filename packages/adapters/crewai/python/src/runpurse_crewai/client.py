"""The way to the gateway, on the standard library alone: questions that are answered in time, reports that are not lost.

Never in the crew's way: `record` returns at once, nothing here raises for a fault of ours, and what the operator should
see goes to `on_problem`. Reports are sent until the gateway has them, under the same `event_id`, in order within a run.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import random
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from .decision import ALLOWED, Decision, refusal_in
from .redact import REDACTED, redact_text, well_formed

Event = Mapping[str, object]
FailurePolicy = Literal["open", "closed"]

_PATH = "/v1/agent/events"
_BATCH_EVENTS = 100
_BATCH_BYTES = 60_000
_CONNECTIONS_KEPT = 8
# After so many questions in a row without an answer the crew no longer waits, but for one question in so many seconds.
_AWAY_AFTER = 3
_AWAY_S = 2.0
_RETRY_S = (0.5, 30.0)
_CLOSE_TRIES = 3


@dataclass(frozen=True)
class Problem:
    """Something the operator should see and the crew should not feel. Never holds a secret."""

    code: Literal["events_dropped", "events_rejected", "gateway_unavailable", "adapter_fault", "not_attributed"]
    message: str


class _Lane:
    """The reports of one run that wait, in their order; a lane is never on the wire twice."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.waiting: deque[str] = deque()
        self.lock = threading.Lock()


class Client:
    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        failure_policy: FailurePolicy = "open",
        timeout_s: float = 2.0,
        flush_interval_s: float = 1.0,
        queue_max: int = 10_000,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url must begin with http:// or https://, not {redact_text(base_url)!r}")
        api_key = api_key.strip()
        if not api_key:
            raise ValueError("api_key is empty. Create a virtual key with `runpurse keys create`.")
        if not api_key.isascii() or not api_key.isprintable():
            raise ValueError("api_key holds characters that no header can carry. Check that it was copied whole.")
        if failure_policy not in ("open", "closed"):
            raise ValueError(f"failure_policy must be 'open' or 'closed', not {failure_policy!r}")
        self.host = url.hostname
        self.port = url.port or (443 if url.scheme == "https" else 80)
        self.failure_policy: FailurePolicy = failure_policy
        self._is_tls = url.scheme == "https"
        self._prefix = url.path.rstrip("/").removesuffix("/v1")
        self._key = api_key
        self._headers = {
            "authorization": f"Bearer {api_key}",
            "content-type": "application/json",
            "accept": "application/json",
        }
        self._timeout_s = timeout_s
        self._flush_interval_s = flush_interval_s
        self._queue_max = queue_max
        self._on_problem = on_problem
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self._pending = 0
        self._unanswered = 0
        self._away_until = 0.0
        self._wake = threading.Event()
        self._worker: threading.Thread | None = None
        self._is_closed = False

    @property
    def pending(self) -> int:
        """Reports that wait or are on the wire."""
        return self._pending

    def serves(self, host: str | None, port: int | None) -> bool:
        """Is this the address of the gateway?"""
        return host is not None and (_named(host), port) == (_named(self.host), self.port)

    def ask(self, event: Event) -> Decision:
        """Asks whether an action may happen; reports of the same run that wait go first. Never raises."""
        if self._unanswered >= _AWAY_AFTER and time.monotonic() < self._away_until:
            return self._unanswerable(event, "it did not answer the last questions")
        if self._unanswered >= _AWAY_AFTER:
            self._away_until = time.monotonic() + _AWAY_S
        if self._unanswered == 0:
            # While a settlement waits, the gateway counts a hold that is none any more.
            self.deliver(str(event.get("run_id") or ""))
        try:
            status, body = self._post(f"{_PATH}?enforce=true", self._text(event))
        except OSError as error:
            return self._no_answer(event, self._safe(error))
        refusal = refusal_in(body)
        if 200 <= status < 300 and isinstance(body, dict) and body.get("allowed") is True:
            self._unanswered = 0
            return ALLOWED
        if refusal is None:
            return self._no_answer(event, f"it answered {status}")
        self._unanswered = 0
        return Decision("denied", False, refusal, refusal.message)

    def record(self, event: Event) -> None:
        """Takes a report and returns at once."""
        if self._is_closed:
            self.report(Problem("events_dropped", f"A report of type {event.get('type')} came after close() and is lost."))
            return
        run_id, text = str(event.get("run_id") or ""), self._text(event)
        with self._lock:
            is_full = self._pending >= self._queue_max
            if not is_full:
                self._pending += 1
                self._lanes.setdefault(run_id, _Lane(run_id)).waiting.append(text)
            if self._worker is None:
                self._worker = threading.Thread(target=_work, args=(weakref.ref(self),), name="runpurse", daemon=True)
                with contextlib.suppress(RuntimeError):  # A process that is ending starts no thread; close() delivers.
                    self._worker.start()
        if is_full:
            self.report(Problem("events_dropped", f"{self._queue_max} reports wait already; a new one is lost."))

    def deliver(self, run_id: str) -> bool:
        """Delivers what waits of a run, now. False when the gateway did not take it all, or is away: the crew does not wait then."""
        if self._unanswered >= _AWAY_AFTER:
            return False
        lane = self._lanes.get(run_id)
        return lane is None or self._deliver(lane)

    def flush(self) -> int:
        """Delivers what waits, with one try. Returns how many reports still wait."""
        for lane in list(self._lanes.values()):
            if not self._deliver(lane):
                break
        return self._pending

    def close(self) -> None:
        """Delivers for the last time. What still can't be delivered is lost and told."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake.set()
        for attempt in range(_CLOSE_TRIES):
            if self.flush() == 0:
                break
            if attempt + 1 < _CLOSE_TRIES:
                time.sleep(0.25 * (attempt + 1))
        if self._pending > 0:
            self.report(
                Problem("events_dropped", f"{self._pending} reports could not be delivered at the end; the gateway was not reachable.")
            )
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def report(self, problem: Problem) -> None:
        try:
            if self._on_problem is not None:
                self._on_problem(problem)
        except Exception:
            pass

    def _deliver(self, lane: _Lane) -> bool:
        with lane.lock:
            while lane.waiting:
                batch = _next_batch(lane.waiting)
                taken = self._send(batch)
                if taken == "later":
                    return False
                if taken == "rejected" and len(batch) > 1:
                    # One of them can't be taken: each by itself, so that the others arrive.
                    for text in batch:
                        outcome = self._send([text])
                        if outcome == "later":
                            return False
                        self._done(lane, 1)
                else:
                    self._done(lane, len(batch))
        with self._lock:
            if not lane.waiting and self._lanes.get(lane.run_id) is lane:
                del self._lanes[lane.run_id]
        return True

    def _done(self, lane: _Lane, count: int) -> None:
        with self._lock:
            for _ in range(count):
                lane.waiting.popleft()
            self._pending -= count

    def _send(self, batch: list[str]) -> Literal["taken", "rejected", "later"]:
        try:
            status, body = self._post(_PATH, f'{{"events":[{",".join(batch)}]}}')
        except OSError:
            return "later"
        if 200 <= status < 300:
            return "taken"
        # What is no JSON object is a page of something before the gateway: it says nothing of the events but that they are too long.
        if (isinstance(body, dict) or status == 413) and status in (400, 402, 403, 409, 413, 422, 423):
            if len(batch) == 1:
                said = body.get("error", {}) if isinstance(body, dict) else {}
                message = said.get("message", "") if isinstance(said, dict) else ""
                self.report(Problem("events_rejected", f"The gateway refused a report: {status} {redact_text(str(message))}"))
            return "rejected"
        return "later"

    def _post(self, path: str, text: str) -> tuple[int, object]:
        """One exchange, tried again once when it was lost at once: event ids make the second harmless."""
        began = time.monotonic()
        tries_left = 1
        while True:
            connection, is_fresh = self._connection()
            try:
                connection.request("POST", self._prefix + path, body=text.encode(), headers=self._headers)
                response = connection.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A kept connection may have been closed from the other side meanwhile: that is no try.
                tries_left -= 1 if is_fresh else 0
                if tries_left < 0 or time.monotonic() - began > self._timeout_s / 2:
                    raise OSError(str(error) or type(error).__name__) from error
                continue
            if self._idle.qsize() < _CONNECTIONS_KEPT and not response.will_close and not self._is_closed:
                self._idle.put(connection)
            else:
                connection.close()
            try:
                return response.status, json.loads(raw)
            except ValueError:
                return response.status, None

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        try:
            return self._idle.get_nowait(), False
        except queue.Empty:
            pass
        if self._is_tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=self._timeout_s, context=ssl.create_default_context()), True
        return http.client.HTTPConnection(self.host, self.port, timeout=self._timeout_s), True

    def _text(self, event: Event) -> str:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str)
        return well_formed(text).replace(self._key, REDACTED)

    def _no_answer(self, event: Event, why: str) -> Decision:
        self._unanswered += 1
        self._away_until = time.monotonic() + _AWAY_S
        return self._unanswerable(event, why)

    def _unanswerable(self, event: Event, why: str) -> Decision:
        """Under `open` the event is still delivered later, so that the trace is whole; under `closed` nothing happened."""
        proceed = self.failure_policy == "open"
        if proceed and not self._is_closed:
            self.record(event)
        tail = (
            'The call goes on without a decision (failure policy "open").' if proceed else 'The call is not made (failure policy "closed").'
        )
        message = f"The gateway could not be asked: {why}. {tail}"
        self.report(Problem("gateway_unavailable", message))
        return Decision("unavailable", proceed, None, message)

    def _safe(self, error: object) -> str:
        return redact_text(str(error).replace(self._key, REDACTED))[:300]


def _next_batch(waiting: deque[str]) -> list[str]:
    batch: list[str] = []
    size = 0
    for text in waiting:
        size += len(text.encode())
        if batch and (size > _BATCH_BYTES or len(batch) >= _BATCH_EVENTS):
            break
        batch.append(text)
    return batch


def _work(reference: weakref.ReferenceType[Client]) -> None:
    """Delivers in the background until the client is closed or gone."""
    failures = 0
    while True:
        client = reference()
        if client is None or client._is_closed:
            return
        wake, pause = client._wake, client._flush_interval_s
        if failures:
            least, most = _RETRY_S
            pause = min(most, least * 2 ** (failures - 1)) * (0.5 + random.random() / 2)
        del client
        wake.wait(pause)
        client = reference()
        if client is None or client._is_closed:
            return
        try:
            failures = failures + 1 if client.flush() > 0 else 0
        except Exception as fault:  # The only thread that delivers must outlive a fault.
            failures += 1
            client.report(Problem("adapter_fault", f"Reports could not be delivered: {type(fault).__name__}: {redact_text(str(fault))}"))


# Names of this very machine: on one port they are one listener, whatever name a model client calls it by.
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


def _named(host: str) -> str:
    return "localhost" if host.lower() in _LOOPBACK else host.lower()
