"""The client against a gateway that is scripted, slow, or not there."""

from __future__ import annotations

import json
import threading
import time
import unittest
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from runpurse_crewai.client import Client, Problem

KEY = "rp_0123456789abcdef0123"
ACCEPTED = (202, {"accepted": 1, "allowed": True, "decisions": []})


class Gateway:
    """Answers as told, and remembers what came."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, Any]] = []
        self.reply: Callable[[str, Any], tuple[int, Any] | None] = lambda path, body: ACCEPTED
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                gateway.bodies.append((self.path, body))
                answer = gateway.reply(self.path, body)
                if answer is None:
                    self.close_connection = True
                    return
                text = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def events(self) -> list[Any]:
        return [event for _, body in self.bodies for event in body.get("events", [body])]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Stage(unittest.TestCase):
    def setUp(self) -> None:
        self.gateway = Gateway()
        self.problems: list[Problem] = []
        self.addCleanup(self.gateway.close)

    def client(self, **options: Any) -> Client:
        client = Client(self.gateway.url, KEY, on_problem=self.problems.append, **{"flush_interval_s": 60, **options})
        self.addCleanup(client.close)
        self.addCleanup(setattr, self.gateway, "reply", lambda path, body: ACCEPTED)
        return client


class Questions(Stage):
    def test_go_after_the_reports_of_their_run(self) -> None:
        client = self.client()
        for number in range(3):
            client.record({"type": "report", "run_id": "a", "number": number})
        client.record({"type": "report", "run_id": "b"})
        self.assertEqual(client.ask({"type": "question", "run_id": "a"}).type, "allowed")
        self.assertEqual(
            [(event["type"], event.get("number")) for event in self.gateway.events],
            [("report", 0), ("report", 1), ("report", 2), ("question", None)],
        )

    def test_are_denied_by_status_and_by_allowed_false(self) -> None:
        for status in (402, 202):
            with self.subTest(status):
                self.gateway.reply = lambda path, body, status=status: (
                    status,
                    {"allowed": False, "error": {"code": "budget_exceeded", "message": "over"}},
                )  # type: ignore[misc]
                decision = self.client().ask({"type": "question", "run_id": "a"})
                self.assertEqual(
                    (decision.type, decision.proceed, decision.refusal and decision.refusal.code), ("denied", False, "budget_exceeded")
                )

    def test_without_an_answer_are_left_to_the_failure_policy(self) -> None:
        for reply in (
            lambda path, body: None,
            lambda path, body: (500, {}),
            lambda path, body: (202, {"hello": 1}),
            lambda path, body: (404, {"error": {"code": "not_found"}}),
        ):
            self.gateway.reply = reply
            self.assertEqual((self.client().ask({"run_id": "a"}).type, self.client().ask({"run_id": "a"}).proceed), ("unavailable", True))
            closed = self.client(failure_policy="closed").ask({"run_id": "a"})
            self.assertEqual((closed.type, closed.proceed), ("unavailable", False))

    def test_lost_on_the_way_are_asked_once_more(self) -> None:
        answers = iter([None, ACCEPTED])
        self.gateway.reply = lambda path, body: next(answers)
        self.assertEqual(self.client().ask({"event_id": "e", "run_id": "a"}).type, "allowed")
        self.assertEqual([event["event_id"] for event in self.gateway.events], ["e", "e"])

    def test_do_not_make_a_crew_wait_for_a_gateway_that_is_away(self) -> None:
        def slow(path: str, body: Any) -> None:
            time.sleep(0.3)

        self.gateway.reply = slow
        client = self.client(timeout_s=0.1)
        for _ in range(3):
            client.ask({"run_id": "a"})
        began = time.monotonic()
        self.assertEqual(client.ask({"run_id": "a"}).type, "unavailable")
        self.assertLess(time.monotonic() - began, 0.05)


class Reports(Stage):
    def test_arrive_in_order_in_batches_within_the_limits(self) -> None:
        client = self.client()
        for number in range(250):
            client.record({"run_id": "a", "number": number, "text": "x" * 1000})
        self.assertEqual(client.flush(), 0)
        self.assertEqual([event["number"] for event in self.gateway.events], list(range(250)))
        self.assertTrue(all(len(body["events"]) <= 100 and len(json.dumps(body)) < 65_536 for _, body in self.gateway.bodies))

    def test_wait_while_the_gateway_is_away_and_are_sent_again_under_their_id(self) -> None:
        client = self.client()
        self.gateway.reply = lambda path, body: (503, {})
        client.record({"run_id": "a", "event_id": "e-1"})
        self.assertEqual(client.flush(), 1)
        self.gateway.reply = lambda path, body: (403, "a firewall's page")
        self.assertEqual(client.flush(), 1)
        self.gateway.reply = lambda path, body: ACCEPTED
        self.assertEqual(client.flush(), 0)
        self.assertEqual([event["event_id"] for event in self.gateway.events], ["e-1", "e-1", "e-1"])

    def test_that_the_gateway_refuses_do_not_hold_up_the_others(self) -> None:
        client = self.client()
        self.gateway.reply = (
            lambda path, body: (409, {"error": {"message": "no"}}) if any(event["number"] == 7 for event in body["events"]) else ACCEPTED
        )
        for number in range(20):
            client.record({"run_id": "a", "number": number})
        self.assertEqual(client.flush(), 0)
        taken = [event["number"] for _, body in self.gateway.bodies if len(body["events"]) == 1 for event in body["events"]]
        self.assertEqual(taken, list(range(20)))
        self.assertEqual([problem.code for problem in self.problems], ["events_rejected"])

    def test_are_delivered_in_the_background(self) -> None:
        client = self.client(flush_interval_s=0.01)
        client.record({"run_id": "a"})
        deadline = time.monotonic() + 5
        while client.pending and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(client.pending, 0)

    def test_beyond_the_bound_are_told(self) -> None:
        client = self.client(queue_max=2)
        for _ in range(3):
            client.record({"run_id": "a"})
        self.assertEqual((client.pending, [problem.code for problem in self.problems]), (2, ["events_dropped"]))

    def test_of_texts_that_are_half_characters_arrive_too(self) -> None:
        client = self.client()
        self.assertTrue(client.ask({"type": "tool.call.requested", "run_id": "r", "name": "bad \ud800"}).proceed)
        client.record({"type": "step.failed", "run_id": "r", "metadata": {"message": "bad \udcff name"}})
        client.record({"type": "step.failed", "run_id": "r\udcff"})
        client.close()
        self.assertEqual(client.pending, 0)
        self.assertEqual([event.get("name") for event in self.gateway.events], ["bad \ufffd", None, None])
        self.assertEqual(self.gateway.events[1]["metadata"], {"message": "bad \ufffd name"})
        self.assertEqual(self.problems, [])

    def test_never_hold_the_key(self) -> None:
        client = self.client()
        client.record({"run_id": "a", "metadata": {"message": f"what is {KEY}?"}})
        client.flush()
        self.assertNotIn(KEY, json.dumps(self.gateway.bodies))

    def test_of_many_threads_at_once_all_arrive_once_and_in_order_within_their_run(self) -> None:
        client = self.client(flush_interval_s=0.01)

        def work(run_id: str) -> None:
            for number in range(40):
                client.record({"run_id": run_id, "number": number})
                if number % 10 == 0:
                    client.ask({"run_id": run_id, "number": -1})

        threads = [threading.Thread(target=work, args=(f"run-{index}",)) for index in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        for index in range(20):
            own = [event["number"] for event in self.gateway.events if event["run_id"] == f"run-{index}" and event["number"] >= 0]
            self.assertEqual(own, list(range(40)))

    def test_after_the_end_are_told(self) -> None:
        client = self.client()
        client.close()
        client.record({"run_id": "a"})
        self.assertEqual([problem.code for problem in self.problems], ["events_dropped"])


class Options(unittest.TestCase):
    def test_that_can_not_work_are_told_at_once(self) -> None:
        for arguments, options in (
            (("gateway", KEY), {}),
            (("ftp://x", KEY), {}),
            (("http://x", " "), {}),
            (("http://x", "rp_one\nrp_two"), {}),
            (("http://x", "rp_…"), {}),
            (("http://x", KEY), {"failure_policy": "maybe"}),
        ):
            with self.subTest(arguments), self.assertRaises(ValueError):
                Client(*arguments, **options)  # type: ignore[arg-type]

    def test_name_the_gateway_with_or_without_v1(self) -> None:
        self.assertTrue(Client("http://Gateway:8787/v1", KEY).serves("gateway", 8787))
        self.assertTrue(Client("https://gateway", KEY).serves("gateway", 443))
        self.assertFalse(Client("https://gateway", KEY).serves("gateway.example", 443))
        for one, other in (("localhost", "127.0.0.1"), ("127.0.0.1", "::1"), ("[::1]", "LOCALHOST")):
            self.assertTrue(Client(f"http://{one}:8787", KEY).serves(other, 8787))
        self.assertFalse(Client("http://localhost:8787", KEY).serves("127.0.0.1", 8788))


if __name__ == "__main__":
    unittest.main()
