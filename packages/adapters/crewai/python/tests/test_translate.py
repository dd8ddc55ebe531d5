"""Run by test/python.test.ts: `python -m unittest discover tests`."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any

from runpurse_crewai.decision import GatewayUnavailable, Refusal, Refused, refusal_in, refusal_of
from runpurse_crewai.redact import REDACTED, redact, redact_text
from runpurse_crewai.translate import error_text, headers_of, input_hash, input_tokens_max, max_output_tokens, usable_id, usage_of


class Usage(unittest.TestCase):
    def test_is_told_in_disjoint_classes_however_the_provider_spells_it(self) -> None:
        rows = (
            (
                "openai",
                {"prompt_tokens": 120, "completion_tokens": 100, "cached_prompt_tokens": 20, "reasoning_tokens": 30},
                (100, 20, 0, 100, 30),
            ),
            (
                "openai raw",
                {"prompt_tokens": 120, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 20}},
                (100, 20, 0, 9, 0),
            ),
            (
                "anthropic folded",
                {"input_tokens": 130, "output_tokens": 9, "cached_prompt_tokens": 20, "cache_creation_tokens": 10},
                (100, 20, 10, 9, 0),
            ),
            (
                "anthropic raw",
                {"input_tokens": 100, "output_tokens": 9, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 10},
                (100, 20, 10, 9, 0),
            ),
            (
                "gemini",
                {
                    "prompt_token_count": 120,
                    "candidates_token_count": 5,
                    "completion_tokens": 9,
                    "cached_prompt_tokens": 20,
                    "reasoning_tokens": 4,
                },
                (100, 20, 0, 9, 4),
            ),
            (
                "bedrock",
                {"inputTokens": 100, "outputTokens": 9, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 10},
                (100, 20, 10, 9, 0),
            ),
        )
        for title, raw, (fresh, read, written, output, reasoning) in rows:
            with self.subTest(title):
                usage = usage_of(raw)
                assert usage is not None
                self.assertEqual(
                    (
                        usage["input_tokens"],
                        usage["cache_read_tokens"],
                        usage["cache_write_5m_tokens"],
                        usage["output_tokens"],
                        usage["reasoning_tokens"],
                    ),
                    (fresh, read, written, output, reasoning),
                )

    def test_that_nobody_told_is_unknown_never_zero(self) -> None:
        for raw in (None, {}, {"total_tokens": 0}, {"prompt_tokens": None}, {"prompt_tokens": "12"}, {"prompt_tokens": True}, {"prompt_tokens": 10**30}, "much"):
            with self.subTest(raw):
                self.assertIsNone(usage_of(raw))
        self.assertIsNone((usage_of({"prompt_tokens": 5}) or {})["output_tokens"])


class Bounds(unittest.TestCase):
    def test_of_an_answer_are_what_reaches_the_provider(self) -> None:
        rows: tuple[tuple[dict[str, object], int | None], ...] = (
            ({}, None),
            ({"max_tokens": 50}, 50),
            ({"n": 1}, None),
            ({"n": 3}, 3_000_000),
            ({"max_tokens": 50, "max_completion_tokens": 400}, 400),
            ({"max_tokens": 50, "n": 20}, 1_000),
            ({"max_tokens": 50, "additional_params": {"n": 20}}, 1_000),
            ({"max_tokens": 50, "additional_params": {"max_tokens": 4_000, "n": None}}, 4_000),
            ({"max_tokens": 50, "additional_params": {"extra_body": {"max_completion_tokens": 4_000}}}, 4_000),
            ({"max_tokens": 50, "additional_params": {"max_tokens": None}}, None),
            ({"max_tokens": True, "additional_params": "odd"}, None),
            ({"max_tokens": float("inf")}, None),
        )
        for fields, expected in rows:
            with self.subTest(fields):
                self.assertEqual(max_output_tokens(SimpleNamespace(**fields)), expected)


class Headers(unittest.TestCase):
    def test_carry_text_beyond_ascii_encoded_and_leave_out_what_is_not_there(self) -> None:
        self.assertEqual(
            headers_of({"agent_id": "müller", "run_id": "r-1", "attempt": 2, "session_id": None}),
            {"Alephant-Agent-Id": "UTF-8''m%C3%BCller", "Alephant-Run-Id": "r-1", "Alephant-Step-Attempt": "2"},
        )

    def test_hold_an_id_on_one_line_and_cut_a_long_one_uniquely(self) -> None:
        self.assertEqual(usable_id(" the careful\n  writer\n"), "the careful writer")
        self.assertIsNone(usable_id(" \n"))
        long, other = usable_id("x" * 300), usable_id("x" * 300 + "y")
        assert long is not None and other is not None
        self.assertLessEqual(len(long), 256)
        self.assertNotEqual(long, other)


class Secrets(unittest.TestCase):
    def test_are_taken_out_of_texts(self) -> None:
        for text in (
            "Authorization: Bearer sk-live-5e1f0c2d9a8b7c6d5e4f",
            "token eyJhbGciOiJI.eyJzdWIiOiIx.sig",
            "password=hunter2-correct",
            "postgres://user:hunter2@host/db",
            "-----BEGIN PRIVATE" + " KEY-----\nabc",
        ):
            with self.subTest(text):
                self.assertIn(REDACTED, redact_text(text))
                self.assertEqual(redact_text(redact_text(text)), redact_text(text))

    def test_are_told_by_their_place_as_the_gateway_tells_them(self) -> None:
        for text, expected in (
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", REDACTED),
            ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", f"aws_secret_access_key={REDACTED}"),
            ("Cookie: session=abcdef12; more=1", f"Cookie: {REDACTED}"),
            ('{"token":"abcdefgh"}', f'{{"token":"{REDACTED}"}}'),
            ("secret: hunter22", f"secret: {REDACTED}"),
            ("Authorization: Token abcdefgh", f"Authorization: Token {REDACTED}"),
            ("AccountKey=abc+def/gh==;EndpointSuffix=x", f"AccountKey={REDACTED};EndpointSuffix=x"),
            ("SG.abcdefghijklmnopqr.abcdefghijklmnopqrstuv", REDACTED),
            ("https://hooks.slack.com/services/T000/B000/XXXX", f"https://hooks.slack.com/{REDACTED}"),
            ("the secret: nobody knows it", "the secret: nobody knows it"),
            ("authorization: denied by rule", "authorization: denied by rule"),
        ):
            with self.subTest(text):
                self.assertEqual(redact_text(text), expected)
                self.assertEqual(redact_text(expected), expected)
        self.assertEqual(redact({"k sk-abcdefghijklmnopqrst": 1}), {f"k {REDACTED}": 1})

    def test_leave_counts_and_words_alone(self) -> None:
        self.assertEqual(redact({"input_tokens": 3, "note": "risk-free task"}), {"input_tokens": 3, "note": "risk-free task"})
        self.assertEqual(redact({"api-key": "x", "deep": [{"Password": 1}]}), {"api-key": REDACTED, "deep": [{"Password": REDACTED}]})

    def test_do_not_change_the_fingerprint_of_an_input_and_other_inputs_do(self) -> None:
        self.assertEqual(input_hash({"password": "a", "id": 1}), input_hash({"id": 1, "password": "b"}))
        self.assertNotEqual(input_hash({"id": 1}), input_hash({"id": 2}))
        self.assertRegex(str(input_hash(object())), "^sha256:")

    def test_an_input_that_can_not_be_read_has_no_fingerprint_and_half_characters_have_one(self) -> None:
        class Broken(dict[str, object]):
            def items(self) -> Any:
                raise RuntimeError("broken")

        self.assertIsNone(input_hash({"q": Broken(a=1)}))
        self.assertRegex(str(input_hash({"q": "\ud800"})), "^sha256:")
        self.assertEqual(error_text(ValueError("bad \udcff name")), "bad \ufffd name")
        self.assertEqual(usable_id("r\udcff"), "r\ufffd")
        self.assertEqual(usable_id("bob\n\x07 1"), "bob 1")
        self.assertIsNotNone(input_tokens_max([{"role": "user", "content": "\ud800"}], []))

    def test_are_not_in_the_text_of_an_error_which_is_short(self) -> None:
        self.assertEqual(error_text(ValueError()), "ValueError")

        class Silent(Exception):
            def __str__(self) -> str:
                raise RuntimeError("trap")

        self.assertEqual(error_text(Silent()), "Silent")
        self.assertLessEqual(len(error_text("x" * 10_000)), 500)
        self.assertNotIn("5e1f0c2d", error_text(ValueError("Bearer sk-live-5e1f0c2d9a8b7c6d5e4f")))


class InputBound(unittest.TestCase):
    def test_is_the_bytes_of_what_is_sent(self) -> None:
        self.assertGreaterEqual(input_tokens_max([{"role": "user", "content": "ü" * 100}], []) or 0, 200)

    def test_is_not_told_where_bytes_do_not_bound_it(self) -> None:
        self.assertIsNone(input_tokens_max([{"role": "user", "content": [{"type": "image_url"}]}], []))
        self.assertIsNone(input_tokens_max([{"role": "user", "content": "x", "files": {"a": 1}}], []))
        self.assertIsNone(input_tokens_max([{"role": "user", "content": object()}], []))
        self.assertIsNone(input_tokens_max([{"role": "user", "content": "x"}], None))


class Refusals(unittest.TestCase):
    def test_are_read_from_the_envelope(self) -> None:
        refusal = refusal_in({"error": {"code": "budget_exceeded", "message": "over", "type": "budget_error", "limit_usd": "0.5"}})
        self.assertEqual(refusal, Refusal("budget_exceeded", "over", None, {"limit_usd": "0.5"}))
        for body in (None, {}, {"error": "x"}, {"error": {"code": "provider_failed"}}, {"error": {"code": None}}):
            self.assertIsNone(refusal_in(body))

    def test_are_found_behind_what_a_crew_raised(self) -> None:
        refusal = Refusal("policy_denied", "no")
        try:
            try:
                raise Refused(refusal)
            except Refused as cause:
                raise ConnectionError("the crew's own words") from cause
        except ConnectionError as error:
            self.assertEqual(refusal_of(error), refusal)
        self.assertIsNone(refusal_of(GatewayUnavailable("away")))
        self.assertIsNone(refusal_of(None))


if __name__ == "__main__":
    unittest.main()
