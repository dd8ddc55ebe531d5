"""In which task or thread code runs, and what may wait there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from .call import Call, ModelCall


def _task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # No loop runs in this thread.


def task_or_thread() -> asyncio.Task[object] | threading.Thread:
    return _task() or threading.current_thread()


def aside(work: Callable[..., object], *args: object) -> None:
    """Does what may wait for the gateway: the others in the loop do not wait, as they don't for what CrewAI itself does at an end."""
    if _task() is not None and len(asyncio.all_tasks()) > 1:
        threading.Thread(target=work, args=args).start()
    else:
        work(*args)


def may_end(call: Call, is_waited_for: bool) -> bool:
    """May the end of it come while this thread waits? `is_waited_for`: also of what goes on elsewhere, such as work in the background."""
    if call.is_over or not isinstance(call, ModelCall) or call.where is None:
        return call.is_over or is_waited_for
    place = call.where()
    return is_waited_for and is_beside(call) and not (isinstance(place, asyncio.Task) and place.get_loop() is _loop())


def _loop() -> asyncio.AbstractEventLoop | None:
    task = _task()
    return None if task is None else task.get_loop()


def is_beside(call: ModelCall) -> bool:
    """Is it under way in another task or thread, so that nobody here waited for its end?"""
    place = None if call.where is None else call.where()
    if call.is_over or place is None or place is task_or_thread():
        return False
    return not place.done() if isinstance(place, asyncio.Task) else place.is_alive()
