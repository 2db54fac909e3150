"""Named plug-ins: registering, building, and errors that name the nearest word."""

from dataclasses import dataclass, field

import pytest

from wattle.core.checks import InputError, InvariantError
from wattle.core.registry import Registry, nearest


def filled():
    registry = Registry("rule")

    @registry.register("plain", claims=frozenset({"fair"}), source="here", when="now")
    @dataclass(frozen=True)
    class Plain:
        """Share and share alike.

        More text.
        """

        price_ticks: int
        rounds: int = 3
        shares: dict = field(default_factory=dict)

    return registry, Plain


def test_an_entry_knows_its_summary_parameters_and_facts():
    registry, cls = filled()
    entry = registry["plain"]
    assert (entry.cls, entry.summary, entry.claims, entry.source, entry.when) == (
        cls, "Share and share alike.", {"fair"}, "here", "now",
    )  # fmt: skip
    assert entry.parameters == {"price_ticks": ..., "rounds": 3, "shares": {}}
    assert entry.build({"price_ticks": 5}) == cls(5)
    assert registry.names() == ["plain"]
    assert "plain" in registry
    assert len(registry) == 1


def test_unknown_words_name_the_nearest():
    registry, _ = filled()
    with pytest.raises(InputError, match=r"no rule is called 'plane'; did you mean 'plain'\?"):
        registry["plane"]
    with pytest.raises(InputError, match=r"plain has no parameter 'round'; did you mean 'rounds'\?"):
        registry["plain"].build({"round": 1})
    assert nearest("xyz", ["b", "a"]) == "known: a, b"
    assert nearest("xyz", []) == "known: none"


def test_entries_are_listed_by_name():
    registry = Registry("rule")
    for name in ("b", "c", "a"):
        registry.register(name)(dataclass(frozen=True)(type(name.upper(), (), {"__doc__": "Text."})))
    assert [entry.name for entry in registry] == ["a", "b", "c"]


def test_a_class_must_be_a_dataclass_with_a_docstring():
    registry = Registry("rule")
    with pytest.raises(InvariantError, match="dataclass"):
        registry.register("x")(type("Bare", (), {"__doc__": "Text."}))
    with pytest.raises(InvariantError, match="docstring"):
        registry.register("x")(dataclass(frozen=True)(type("Silent", (), {"__doc__": " "})))
    assert len(registry) == 0


def test_a_name_belongs_to_one_class_but_a_module_may_be_loaded_twice():
    registry = Registry("rule")

    def make(name):
        return dataclass(frozen=True)(type(name, (), {"__doc__": "Text."}))

    registry.register("x")(make("First"))
    again = registry.register("x")(make("First"))
    assert registry["x"].cls is again
    with pytest.raises(InvariantError, match="two different classes"):
        registry.register("x")(make("Second"))
