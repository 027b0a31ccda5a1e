"""Precision schedules: grammar, boundaries in exact arithmetic, groups of layers, what is refused."""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ramekin.amp import Recipe, Schedule, as_recipe, as_schedule, recipes
from ramekin.formats import float8_e5m2


def names(schedule: Schedule, total: int, per_epoch: int = 10, layer: str | None = None) -> list[str]:
    return [schedule.recipe_at(step, total, per_epoch, layer).name for step in range(total)]


# --- lengths ---


def test_parts_of_the_run() -> None:
    schedule = Schedule("float8:50%,bfloat16:40%,float32:10%")
    assert names(schedule, 10) == ["float8"] * 5 + ["bfloat16"] * 4 + ["float32"]
    # 3.5 and 6.3 of 7 steps: steps 0 to 3 and 4 to 6 begin before those points.
    assert names(schedule, 7) == ["float8"] * 4 + ["bfloat16"] * 3


@pytest.mark.parametrize(
    "text", ["float8:3,bfloat16:rest", "float8:3steps,bfloat16", "float8:3 steps , bfloat16"]
)
def test_steps_then_the_rest(text: str) -> None:
    assert names(Schedule(text), 5) == ["float8"] * 3 + ["bfloat16"] * 2
    assert names(Schedule(text), 2) == ["float8"] * 2  # what begins after the end is not reached


def test_epochs_may_be_broken_and_units_mixed() -> None:
    schedule = Schedule("float8:1epoch,bfloat16:0.5epochs,float16:1step,float32:rest")
    assert names(schedule, 8, 4) == ["float8"] * 4 + ["bfloat16"] * 2 + ["float16"] + ["float32"]


def test_boundaries_are_exact() -> None:
    # In float arithmetic 0.1 + 0.2 exceeds 0.3, and step 3 of 10 would still be in the second phase.
    schedule = Schedule("float8:10%,bfloat16:20%,float32:70%")
    assert names(schedule, 10) == ["float8"] + ["bfloat16"] * 2 + ["float32"] * 7


@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=5),
    total=st.integers(1, 200),
    data=st.data(),
)
def test_phases_follow_their_definition(lengths: list[int], total: int, data: Any) -> None:
    """Tenths of a per cent that add up to 100 with the last; each step by rational arithmetic."""
    known = recipes()
    lengths = [min(length, 199) for length in lengths]
    lengths.append(1000 - sum(lengths))
    if lengths[-1] <= 0:
        return
    chosen = [data.draw(st.sampled_from(known)) for _ in lengths]
    text = ",".join(f"{name}:{n // 10}.{n % 10}%" for name, n in zip(chosen, lengths, strict=True))
    schedule = Schedule(text)
    for step in range(total):
        passed = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        phase = next(i for i, end in enumerate(passed) if Fraction(step, total) < Fraction(end, 1000))
        assert schedule.recipe_at(step, total, 7).name == chosen[phase]


# --- the object ---


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("float32", "Schedule('float32')"),
        ("float8:75%,bfloat16:25%", "Schedule('float8:75%,bfloat16:25%')"),
        (" float8 : 12.50 % , bfloat16 ", "Schedule('float8:12.5%,bfloat16:rest')"),
        ("float8:100,bfloat16:1epoch,float32", "Schedule('float8:100steps,bfloat16:1epochs,float32:rest')"),
        ({"*": "float8:10%,float32"}, "Schedule('float8:10%,float32:rest')"),
        (
            {"layers.*": "float8:50%,bfloat16:50%", "out": "float32"},
            "Schedule({'layers.*': 'float8:50%,bfloat16:50%', 'out': 'float32'})",
        ),
    ],
)
def test_repr_round_trips(spec: Any, shown: str) -> None:
    schedule = Schedule(spec)
    assert repr(schedule) == shown
    again = eval(shown)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    if schedule.is_uniform:
        assert Schedule(str(schedule)) == schedule


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Schedule("float32").groups = ()  # type: ignore[misc]


def test_a_recipe_is_a_schedule_and_has_its_name_and_bits() -> None:
    for name in recipes():
        schedule = as_schedule(name)
        assert schedule == Schedule(as_recipe(name))
        assert (schedule.name, schedule.bits) == (name, as_recipe(name).bits)
        assert schedule.recipe_at(3, 4, 2) == as_recipe(name)
    assert as_schedule(schedule) is schedule
    staged = Schedule("float8:50%,bfloat16:40%,float8:10%")
    assert staged.bits == "8/8/8>16/16/16"
    assert [recipe.name for recipe in staged.recipes] == ["float8", "bfloat16"]


def test_pairs_take_recipes_of_ones_own() -> None:
    own = Recipe("own", float8_e5m2, float8_e5m2, float8_e5m2)
    schedule = Schedule([(own, "2steps"), ("bfloat16", "rest")])
    assert schedule.recipe_at(1, 4, 2) is own
    assert schedule.name == "own:2steps,bfloat16:rest"


# --- groups of layers ---


def test_the_last_pattern_that_matches_counts() -> None:
    schedule = Schedule({"layers": "float8:50%,bfloat16:50%", "[!l]*": "float16", "layers.0": "float32"})
    assert names(schedule, 4, layer="layers.0") == ["float32"] * 4
    assert names(schedule, 4, layer="layers.10") == ["float8"] * 2 + ["bfloat16"] * 2
    assert names(schedule, 4, layer="out") == ["float16"] * 4
    assert schedule.name == "layers=float8:50%,bfloat16:50%; [!l]*=float16; layers.0=float32"
    schedule.check(4, 2, ["layers.0", "layers.1", "out"])


@pytest.mark.parametrize(
    ("spec", "layers", "message"),
    [
        (
            {"a.*": "float8"}, ["a.0", "b"],
            r"no pattern of the schedule matches layer 'b'; there are 'a.\*', and a first pattern '\*'",
        ),
        ({"a": "float8", "c": "float32"}, ["a"], "pattern 'c' of the schedule matches no layer .* are 'a'$"),
        ({"a": "float32", "*": "float8"}, ["a"], "pattern 'a' of the schedule matches no layer that a later"),
        ({"a": "float8"}, [], "pattern 'a' of the schedule matches no layer .* layers are none"),
        ({"a": "float8:3"}, ["a"], "schedule 'float8:3steps' ends after 3 of 4 steps; a last phase"),
        ("float8:1epoch", [], "schedule 'float8:1epochs' ends after 2 of 4 steps"),
    ],
)  # fmt: skip
def test_schedule_that_does_not_fit_the_run(spec: Any, layers: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(spec).check(4, 2, layers)


# --- refused ---


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "a phase has no recipe; phases look like 'float8:75%,bfloat16:25%'"),
        ("float8:50%,,bfloat16", "a phase has no recipe"),
        (":50%", "a phase has no recipe"),
        ("fp8:50%,float32", "unknown recipe 'fp8'; accepted: float32"),
        ("float8:,float32", "length '' of float8 is not understood; accepted: 'N%', 'N' or 'Nsteps'"),
        ("float8:half,float32", "length 'half' of float8 is not understood"),
        ("float8:-5,float32", "length '-5' of float8 is not understood"),
        ("float8:1e3,float32", "length '1e3' of float8 is not understood"),
        ("float8:5:6,float32", "length '5:6' of float8 is not understood"),
        ("float8:nan%,float32", "length 'nan%' of float8"),
        ("float8:\u0665,float32", "length '\u0665' of float8"),
        ("float8:0%,float32", "length '0%' of float8 must be above 0"),
        ("float8:2.5,float32", "length '2.5' of float8 must be a whole number of steps"),
        ("float8,float32:10%", "float8 has no length or takes the rest of the run, which only the last"),
        ("float8:rest,float32", "float8 has no length or takes the rest"),
        ("float8:60%,float32:60%", "percentages add up to 120, more than 100"),
        ("float8:60%,float32:60%,float16", "percentages add up to 120, more than 100"),
        ("float8:60%,float32:30.5%", "percentages add up to 90.5; accepted: 100, or a last phase"),
        ({}, "needs at least one group of layers"),
        ([], "needs at least one phase"),
        ({"a": ""}, "a phase has no recipe"),
    ],
)  # fmt: skip
def test_bad_schedules(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (3, "a schedule is text such as .* a mapping of layer patterns to these, not int"),
        (None, "not NoneType"),
        ({"a": 3}, "a schedule is text such as"),
        ({1: "float8"}, "a pattern of layer names must be a str, not int"),
        (
            ["float8"],
            r"a phase must be a pair of recipe and length such as \('float8', '75%'\), not 'float8'",
        ),
        ([("float8", 3)], "a phase must be a pair"),
        ([(3, "rest")], "a recipe is a name or a Recipe, not int"),
    ],
)
def test_bad_types(spec: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Schedule(spec)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 4, 2), "step 4 is not in a run of 4 steps"),
        ((-1, 4, 2), "step -1 is not in a run"),
        ((0, 4, 0), "steps_per_epoch must be at least 1, got 0"),
    ],
)
def test_bad_steps(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule("float32").recipe_at(*arguments)


def test_groups_need_a_layer() -> None:
    with pytest.raises(ValueError, match="groups of layers differ in this schedule: name a layer"):
        Schedule({"a": "float8", "b": "float32"}).recipe_at(0, 4, 2)
