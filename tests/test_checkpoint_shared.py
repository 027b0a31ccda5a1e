"""Ranks that convert or analyse together: files, errors and journals are those of one rank."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import ramekin as rk
import thread_world
from ramekin.checkpoint import ErrorTooLargeError, cutting, division, spans
from ramekin.checkpoint.partial import Partial
from ramekin.checkpoint.sharing import shares
from ramekin.distributed import RankError
from ramekin.distributed.progress import Progress
from ramekin.exploration import default_candidates
from ramekin.exploration_shared import explored
from test_checkpoint_killed import StoppedError, files
from test_checkpoint_pieces import RULES, TENSORS


@pytest.fixture
def source(tmp_path):
    rk.save(tmp_path / "in.safetensors", TENSORS)
    return tmp_path / "in.safetensors"


@pytest.fixture
def small_pieces(monkeypatch):
    """Have small tensors shared as those of gigabytes are."""
    monkeypatch.setattr(cutting, "ELEMENTS", 200)
    monkeypatch.setattr(division, "_LARGE", 1600)
    monkeypatch.setattr(spans, "_TOGETHER", 3)


def converted(size, source, target, fmt, **options):
    """Convert on so many ranks, and return what each of them returns."""
    return thread_world.run(
        size, lambda world: rk.convert_checkpoint(source, target, fmt, world=world, **options)
    )


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("fmt", "scaling", "options"), RULES, ids=str)
def test_ranks_make_the_file_of_one(fmt, scaling, options, source, tmp_path):
    options = options | {"scaling": scaling, "keep": ["stack"]}
    one = rk.convert_checkpoint(source, tmp_path / "one.safetensors", fmt, **options)
    for size in (2, 3, 4, 7):
        target = tmp_path / f"{size}.safetensors"
        all_ranks = converted(size, source, target, fmt, **options)
        assert target.read_bytes() == (tmp_path / "one.safetensors").read_bytes()
        for conversion in all_ranks:
            assert repr(conversion.tensors) == repr(one.tensors)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("small_pieces")
def test_large_tensors_are_shared_and_so_is_their_largest_magnitude(tmp_path, monkeypatch):
    x = np.random.default_rng(1).standard_normal((100, 40)).astype(np.float32)
    rk.save(tmp_path / "in.safetensors", {"x": x})
    rows = []
    convert_piece = division.amax_of

    def noted(x, pieces):
        rows.append(list(pieces))
        return convert_piece(x, pieces)

    monkeypatch.setattr(division, "amax_of", noted)
    for size in (1, 4):
        converted(size, tmp_path / "in.safetensors", tmp_path / f"{size}.safetensors", "nvfp4")
    assert files(tmp_path / "1.safetensors") == files(tmp_path / "4.safetensors")
    assert sorted(rows) == [[(start, start + 5)] for start in range(0, 100, 5)]  # each piece by one rank


@pytest.mark.usefixtures("small_pieces")
def test_a_directory_with_an_index(source, tmp_path):
    rk.save(tmp_path / "shards", rk.load(source), max_shard_size=9000)
    (tmp_path / "shards" / "config.json").write_text("{}")
    rk.convert_checkpoint(tmp_path / "shards", tmp_path / "one", "mxfp8_e4m3")
    converted(3, tmp_path / "shards", tmp_path / "three", "mxfp8_e4m3")
    assert files(tmp_path / "three") == files(tmp_path / "one")
    assert len(files(tmp_path / "one")) > 4


def test_progress_is_that_of_all(source, tmp_path):
    calls = []
    thread_world.run(
        4,
        lambda world: rk.convert_checkpoint(
            source,
            tmp_path / "out.safetensors",
            "bfloat16",
            progress=lambda *how: calls.append((world.rank, *how)),
            world=world,
        ),
    )
    total = sum(rk.load(source).info(name).nbytes for name in rk.load(source))
    assert {rank for rank, *_ in calls} == {0}
    done = [done for _, done, _, _ in calls]
    assert done == sorted(done)
    assert calls[-1][1:3] == (total, total)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("sizes", [(4, 1), (1, 3), (3, 2, 4), (2, 2, 1)], ids=str)
@pytest.mark.parametrize("fmt", ["nvfp4", "mxfp8_e4m3", "float8_e4m3fn"])
def test_resumed_on_another_number_of_ranks(fmt, sizes, source, tmp_path, monkeypatch):
    one = rk.convert_checkpoint(source, tmp_path / "one.safetensors", fmt)
    target, partial = tmp_path / "out.safetensors", tmp_path / ".out.safetensors.ramekin-partial"
    instants = random.Random(str(sizes) + fmt)
    found = []
    for size in sizes[:-1]:
        with monkeypatch.context() as stopping:
            stopping.setattr(Partial, "note", stopping_note(instants.randrange(5, 15)))
            with pytest.raises(StoppedError):
                converted(size, source, target, fmt)
        assert not target.exists()
        found.append(lines(partial))
        assert found[-1] > set().union(*found[:-1])  # nothing is lost
    done = converted(sizes[-1], source, target, fmt)[0]
    assert repr(done.tensors) == repr(one.tensors)
    assert files(target) == files(tmp_path / "one.safetensors")
    assert not partial.exists()
    assert done.resumed == len(whole_tensors(found[-1])) > 0


def stopping_note(after):
    """Return a `note` that raises instead, in all ranks, after so many notes of any."""
    left, note = iter(range(after)), Partial.note

    def noted(self, *rest):
        if next(left, None) is None:
            raise StoppedError
        note(self, *rest)

    return noted


def lines(partial):
    """Return which rows of which tensors journals say are done."""
    texts = [line for path in partial.glob("journal*.jsonl") for line in path.read_text().splitlines()[1:]]
    return {(line["name"], *line["rows"]) for line in map(json.loads, texts)}


def whole_tensors(found):
    """Return the tensors of which all rows are done."""
    lengths = {name: max([*np.shape(x)[:1], 1]) for name, x in TENSORS.items()}
    done = {name: sum(end - start for own, start, end in found if own == name) for name in TENSORS}
    return [name for name in TENSORS if done[name] == lengths[name]]


def test_an_error_that_is_too_large_leaves_nothing(source, tmp_path):
    with pytest.raises(ErrorTooLargeError, match="tensor 'beyond' would have an error of inf") as one:
        rk.convert_checkpoint(source, tmp_path / "out.safetensors", "float8_e4m3fn", max_error=1e-9)
    with pytest.raises(ErrorTooLargeError) as three:
        converted(3, source, tmp_path / "out.safetensors", "float8_e4m3fn", max_error=1e-9)
    assert str(three.value) == str(one.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_ranks_with_other_arguments_are_refused(source, tmp_path):
    def convert(world):
        fmt = "mxfp4" if world.rank == 2 else "mxfp8_e4m3"
        rk.convert_checkpoint(source, tmp_path / "out.safetensors", fmt, world=world)

    with pytest.raises(RankError, match="the conversion of rank 2 of 3 is not that of rank 0"):
        thread_world.run(3, convert)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


@pytest.mark.usefixtures("small_pieces")
def test_ranks_find_what_one_finds(source):
    rules = default_candidates()
    expected = [
        (name, found and found.to_json())
        for name, found in thread_world.run(1, lambda world: list(explored(rk.load(source), rules, world)))[0]
    ]
    assert len(expected) == len(TENSORS)
    for size in (2, 5):
        first, *others = thread_world.run(size, lambda world: list(explored(rk.load(source), rules, world)))
        assert [(name, found and found.to_json()) for name, found in first] == expected
        assert others == [[]] * (size - 1)


def test_analysis_by_pieces_has_the_bits_of_conversion(source, tmp_path):
    expected = rk.convert_checkpoint(source, tmp_path / "out.safetensors", "nvfp4")
    for report in expected.tensors:
        if report.stats is not None:
            found = rk.analyze(rk.load(source)[report.name], ["nvfp4"])
            assert repr(found.candidates[0].stats) == repr(report.stats)
            assert (found.candidates[0].nbytes, found.candidates[0].lost) == (
                report.nbytes_after,
                report.lost,
            )


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_shares_are_even_and_in_order(ranks):
    generator = random.Random(ranks)
    for _ in range(50):
        costs = [generator.choice([0, 1, 7, 30, 200]) for _ in range(generator.randrange(60))]
        given = shares(costs, ranks, 30)
        assert sorted(item for items in given for item in items) == list(range(len(costs)))
        small = [[item for item in items if costs[item] <= 30] for items in given]
        assert all(items == sorted(items) for items in given)
        assert [item for items in small for item in items] == [
            i for i, cost in enumerate(costs) if cost <= 30
        ]
        loads = [sum(costs[item] for item in items) for items in given]
        # Nobody has more than an even share and one item, unless a single item is more.
        assert max(loads) <= sum(costs) / ranks + max(costs, default=0) + 1


def test_large_items_go_to_who_has_least():
    assert shares([50, 10, 90, 10, 40, 10], 2, 10) == [[1, 2, 3], [0, 4, 5]]
    assert shares([5, 5, 100, 5], 3, 10) == [[2], [0, 1], [3]]


def test_progress_ends_when_all_have_ended():
    told = []

    def work(world):
        progress = Progress(world)
        for done in range(1, 20 * (world.rank + 1)):
            progress.tell(done)
        progress.end(20 * (world.rank + 1), lambda: told.append(progress.others))
        return progress.others

    assert thread_world.run(4, work)[0] == 40 + 60 + 80
    assert told == sorted(told)
