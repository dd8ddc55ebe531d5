"""Methods that are wrapped while anybody is attached."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runpurse_crewai.seams import Around, Seam


def around(name: str, told: list[str]) -> Around:
    @contextmanager
    def work(_thing: Any, word: str) -> Iterator[None]:
        told.append(f"{name} before {word}")
        try:
            yield
        finally:
            told.append(f"{name} after {word}")

    return work


class Seams(unittest.TestCase):
    def setUp(self) -> None:
        class Thing:
            def say(self, word: str) -> str:
                """Says it."""
                return f"said {word}"

            async def think(self, word: str) -> str:
                await asyncio.sleep(0)
                raise ValueError(word)

        self.thing = Thing
        self.told: list[str] = []

    def test_is_wrapped_by_each_who_enters_and_put_back_when_the_last_leaves_in_whatever_order(self) -> None:
        original = self.thing.say
        seam = Seam(self.thing, "say")
        one, other = around("one", self.told), around("other", self.told)
        seam.enter(one)
        seam.enter(other)
        self.assertEqual((self.thing().say("a"), self.thing.say.__doc__), ("said a", "Says it."))
        self.assertEqual(self.told, ["one before a", "other before a", "other after a", "one after a"])
        seam.leave(one)
        seam.leave(one)
        self.assertEqual((self.thing().say(word="b"), self.told[4:]), ("said b", ["other before b", "other after b"]))
        seam.leave(other)
        self.assertIs(self.thing.say, original)

    def test_that_somebody_wrapped_again_is_left_to_them_and_entered_once_above_them(self) -> None:
        seam = Seam(self.thing, "say")
        one = around("one", self.told)
        seam.enter(one)
        ours = self.thing.say
        self.thing.say = theirs = lambda thing, word: ours(thing, f"{word}!")  # type: ignore[method-assign]
        seam.leave(one)
        self.assertEqual((self.thing().say("a"), self.told), ("said a!", []))
        seam.enter(one)
        self.assertEqual((self.thing().say("b"), self.told), ("said b!", ["one before b", "one after b"]))
        self.thing.say = ours  # type: ignore[method-assign]  # Theirs is undone, with whatever stood above it.
        self.assertEqual((self.thing().say("c"), self.told[2:]), ("said c", ["one before c", "one after c"]))
        self.thing.say = theirs  # type: ignore[method-assign]
        seam.leave(one)
        self.assertEqual((self.thing().say("d"), self.told[4:]), ("said d!", []))

    def test_that_somebody_took_away_comes_back_with_who_enters_next(self) -> None:
        original = self.thing.say
        seam = Seam(self.thing, "say")
        one = around("one", self.told)
        seam.enter(one)
        self.thing.say = original  # type: ignore[method-assign]
        seam.leave(one)
        seam.enter(one)
        self.assertEqual((self.thing().say("a"), self.told), ("said a", ["one before a", "one after a"]))
        seam.leave(one)
        self.assertIs(self.thing.say, original)

    def test_that_calls_itself_is_entered_each_time(self) -> None:
        def say(thing: Any, word: str) -> str:
            return f"said {thing.say('b') if word == 'a' else word}"

        self.thing.say = say  # type: ignore[method-assign]
        seam = Seam(self.thing, "say")
        seam.enter(around("one", self.told))
        self.assertEqual(self.thing().say("a"), "said said b")
        self.assertEqual(self.told, ["one before a", "one before b", "one after b", "one after a"])

    def test_gives_the_method_what_those_around_it_say(self) -> None:
        @contextmanager
        def louder(_thing: Any, word: str) -> Iterator[dict[str, object]]:
            yield {"word": word.upper()}

        seam = Seam(self.thing, "say")
        seam.enter(louder)
        self.assertEqual((self.thing().say("a"), self.thing().say(word="b")), ("said A", "said B"))

    def test_of_a_coroutine_lasts_as_long_as_it_and_sees_what_it_raises(self) -> None:
        seam = Seam(self.thing, "think")
        seam.enter(around("one", self.told))
        coroutine = self.thing().think("a")
        self.assertEqual(self.told, [])
        with self.assertRaises(ValueError):
            asyncio.run(coroutine)
        self.assertEqual(self.told, ["one before a", "one after a"])
