"""A model or tool call of a run, while it is under way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import uuid
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crewai.hooks import HookAborted

from .translate import headers_of

if TYPE_CHECKING:
    from .run import Run

#: The usage of a call that was not made, or that a provider answered with an error: it bills nothing then.
NOTHING = {"input_tokens": 0, "output_tokens": 0}
#: How long the end of a call that is over, or of one in the background, is waited for.
LATE_S = 5.0


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


class Call:
    """A model or tool call under way: its step, and whether its end has been told."""

    def __init__(self, run: Run, name: str, place: Mapping[str, object]) -> None:
        self.run = run
        self.name = name
        self.step_id = new_id("step")
        self.place: dict[str, object] = {**place, "step_id": self.step_id}
        self.attempt = 1
        self.is_settled = threading.Event()
        """Nothing more is to be told of it."""
        self.is_taken = False
        """Somebody is telling its end, or has."""
        self.is_over = False
        """It has ended; its end may still be on the way to us."""

    @property
    def patience_s(self) -> float:
        """How long the end of it, once it is over, may take to reach us."""
        return LATE_S


class ModelCall(Call):
    def __init__(self, run: Run, name: str, place: Mapping[str, object], asking: Mapping[str, object]) -> None:
        super().__init__(run, name, place)
        self.asking = asking
        """The bounds of its worst case, to ask again with when its client tries again."""
        self.is_carried = False
        self.requests = 0
        """How many times its client has sent it."""
        self.is_sent = False
        """Its client waits for the answer."""
        self.is_told_of = False
        """CrewAI told that it began, so it will tell its end."""
        self.will_be_told_of = False
        """CrewAI tells when such a call begins: where it told nothing, a hook of the user's kept it from being made."""
        self.is_redirected = False
        """Its client follows a redirect: the next request is the same try."""
        self.has_answer = False
        self.last_status: int | None = None
        self.usage: Mapping[str, object] | None = None
        """What the provider said that the try under way used; CrewAI leaves it out where it ran a function itself."""
        self.where: weakref.ref[asyncio.Task[object] | threading.Thread] | None = None
        """The task or thread it is made in."""
        self.call_id: str | None = None
        """CrewAI's id of the try under way, when its client tells us of it."""
        self.told_id: str | None = None
        """CrewAI's id of the try whose end was told."""
        self.key: object = None
        """Whose call it is, and of which model: what was refused once is not asked again."""
        self.refusal: HookAborted | None = None
        self.socket: socket.socket | None = None

    @property
    def patience_s(self) -> float:
        return super().patience_s if self.is_told_of or self.is_over else 0.5

    def headers(self, retries: int = 0) -> dict[str, str]:
        """Of its request to the gateway. `retries`: tries that its client counts in a header of its own; the gateway adds them."""
        attempt = self.attempt - retries
        return headers_of({**self.run.context, **self.place, **({"attempt": attempt} if attempt > 1 else {})})

    def was_never_made(self) -> bool:
        return self.will_be_told_of and not self.is_told_of and self.requests == 0

    def cut(self) -> None:
        """Ends the transfer: the thread that reads it is told that the stream is over."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


class ToolCall(Call):
    is_denied = False
    denial: str | None = None
    """Why, for the model."""
    input: object = None
    """The very object CrewAI asked with, which it settles with too."""
    cached_as: str | None = None
    """The input's key in the crew's cache, when the answer was in there as we asked."""
    outer: ToolCall | None = None
    """The tool it was called inside of."""
