"""A run and its end."""

from __future__ import annotations

import threading
import unittest
from typing import Any, cast

from runpurse_crewai.call import ModelCall
from runpurse_crewai.client import Client
from runpurse_crewai.run import Run


class Told:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def record(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def deliver(self, _run_id: str) -> None:
        pass


class Ends(unittest.TestCase):
    def test_wait_for_what_began_while_they_waited(self) -> None:
        told = Told()
        run = Run(cast(Client, told), {})
        first, second = ModelCall(run, "first", {}, {}), ModelCall(run, "second", {}, {})
        first.is_told_of = second.is_told_of = True
        run.open(first)
        ending = threading.Thread(target=run.end, args=("completed",))
        ending.start()
        run.open(second)
        run.record_model(first, usage={"output_tokens": 1})
        ending.join(0.1)
        run.record_model(second, usage={"output_tokens": 2})
        ending.join()
        self.assertEqual(
            [(event["type"], event["metadata"].get("usage")) for event in told.events],
            [("llm.call.completed", {"output_tokens": 1}), ("llm.call.completed", {"output_tokens": 2}), ("run.completed", None)],
        )
