"""The interceptor on requests and responses of the real httpx, without a network."""

from __future__ import annotations

import unittest
from typing import Any

import httpx
from crewai.llms.hooks.base import BaseInterceptor

from runpurse_crewai import Refused, Runpurse
from runpurse_crewai.call import ModelCall
from runpurse_crewai.client import Client
from runpurse_crewai.decision import ALLOWED, Decision, Refusal
from runpurse_crewai.interceptor import RunpurseInterceptor
from runpurse_crewai.run import Run
from runpurse_crewai.state import MODEL, RUN

KEY = "rp_0123456789abcdef0123"
GATEWAY, PROVIDER = "http://gateway:8787/v1/chat/completions", "http://provider/v1/chat/completions"


class ToldClient(Client):
    """Remembers what it is asked and told; answers as told."""

    def __init__(self) -> None:
        super().__init__("http://gateway:8787", KEY)
        self.asked: list[Any] = []
        self.told: list[Any] = []
        self.answer: Decision = ALLOWED

    def ask(self, event: Any) -> Decision:
        self.asked.append(event)
        return self.answer

    def record(self, event: Any) -> None:
        self.told.append(event)


class Requests(unittest.TestCase):
    def setUp(self) -> None:
        self.client = ToldClient()
        self.run_of = Run(self.client, {"run_id": "run-1", "session_id": "müller"})
        self.call = ModelCall(self.run_of, "m", {"agent_id": "a"}, {})
        self.run_of.open(self.call)
        self.interceptor = RunpurseInterceptor(self.client)
        for variable, value in ((RUN, self.run_of), (MODEL, self.call)):
            self.addCleanup(variable.reset, variable.set(value))  # type: ignore[attr-defined]

    def send(self, url: str, status: int | None = 200, **headers: str) -> httpx.Request:
        request = self.interceptor.on_outbound(httpx.Request("POST", url, headers=headers))
        assert isinstance(request, httpx.Request)
        if status is not None:
            self.interceptor.on_inbound(httpx.Response(status, json={}, request=request))
        return request

    def test_through_the_gateway_carry_the_ids_and_are_not_asked_about(self) -> None:
        self.call.is_carried = True
        headers = self.send(GATEWAY).headers
        self.assertEqual(headers["alephant-run-id"], "run-1")
        self.assertEqual(headers["alephant-session-id"], "UTF-8''m%C3%BCller")
        self.assertEqual(headers["alephant-step-id"], self.call.step_id)
        self.assertEqual(self.client.asked, [])

    def test_past_the_gateway_carry_nothing_of_ours(self) -> None:
        headers = self.send(PROVIDER).headers
        self.assertFalse([name for name in headers if name.startswith("alephant")])

    def test_that_were_thought_to_go_through_and_do_not_are_asked_about_first(self) -> None:
        self.call.is_carried = True
        self.send(PROVIDER)
        self.assertEqual([event["type"] for event in self.client.asked], ["llm.call.started"])
        self.assertFalse(self.call.is_carried)

    def test_that_a_redirect_leads_away_lose_the_ids_and_stay_one_try(self) -> None:
        self.call.is_carried = True
        first = self.send(GATEWAY, 307)
        second = self.send(PROVIDER, 200, **dict(first.headers))
        self.assertFalse([name for name in second.headers if name.startswith("alephant")])
        self.assertEqual((self.call.attempt, len(self.client.asked)), (1, 1))

    def test_tried_again_are_told_one_by_one_and_asked_about_one_by_one(self) -> None:
        self.send(PROVIDER, 500)
        self.send(PROVIDER, 200)
        self.assertEqual(
            [(event["type"], event["metadata"]["usage"]) for event in self.client.told],
            [("llm.call.failed", {"input_tokens": 0, "output_tokens": 0})],
        )
        self.assertEqual(
            [(event["type"], event["attempt"], event["step_id"]) for event in self.client.asked],
            [("llm.call.started", 2, self.call.step_id)],
        )

    def test_tried_again_without_an_answer_are_not_free(self) -> None:
        self.send(PROVIDER, None)
        self.send(PROVIDER, 200)
        self.assertNotIn("usage", self.client.told[0]["metadata"])

    def test_denied_at_a_try_are_not_made_then_nor_later(self) -> None:
        self.send(PROVIDER, 500)
        self.client.answer = Decision("denied", False, Refusal("budget_exceeded", "over"), "over")
        for _ in range(3):
            with self.assertRaises(Refused):
                self.send(PROVIDER)
        self.assertEqual(len(self.client.asked), 1)

    def test_made_beside_the_one_that_was_asked_about_are_steps_of_their_own(self) -> None:
        self.send(PROVIDER, 200)
        self.send(PROVIDER, 200)
        self.assertEqual(len(self.client.asked), 1)
        self.assertNotEqual(self.client.asked[0]["step_id"], self.call.step_id)

    def test_pass_the_interceptor_that_the_model_had_before(self) -> None:
        class Inner(BaseInterceptor[httpx.Request, httpx.Response]):
            def on_outbound(self, message: httpx.Request) -> httpx.Request:
                message.headers["x-inner"] = message.headers.get("alephant-run-id", "none")
                return message

            def on_inbound(self, message: httpx.Response) -> httpx.Response:
                message.headers["x-inner"] = "seen"
                return message

        self.call.is_carried = True
        self.interceptor = RunpurseInterceptor(self.client, Inner())
        self.assertEqual(self.send(GATEWAY).headers["x-inner"], "run-1")
        self.assertEqual(self.interceptor.on_inbound(httpx.Response(200)).headers["x-inner"], "seen")

    def test_that_are_no_model_calls_are_left_alone(self) -> None:
        headers = self.send("http://gateway:8787/v1/responses/input_tokens").headers
        self.assertNotIn("alephant-run-id", headers)
        self.assertFalse(self.call.has_answer)

    def test_of_the_gateway_tell_its_own_count_of_tries_apart(self) -> None:
        self.call.is_carried = True
        self.assertNotIn("alephant-step-attempt", self.send(GATEWAY, 500).headers)
        self.assertNotIn("alephant-step-attempt", self.send(GATEWAY, 500, **{"x-stainless-retry-count": "1"}).headers)
        self.assertEqual(self.send(GATEWAY, 200).headers["alephant-step-attempt"], "3")
        self.assertEqual((self.client.asked, self.client.told), ([], []))


class Options(unittest.TestCase):
    def test_that_would_make_a_cap_void_are_told_before_anything_is_spent(self) -> None:
        for options in (
            {"limit_usd": "0,50"},
            {"limit_usd": "-1"},
            {"limit_usd": 0.5},
            {"bounds": {"max_call": 3}},
            {"bounds": {"max_steps": -1}},
            {"context": {"sessionId": "s"}},
        ):
            with self.subTest(options), self.assertRaises(ValueError):
                Runpurse("http://gateway", KEY, **options)  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()
