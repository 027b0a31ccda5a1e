"""What each picture of a report shows: its marks, where they lie, and what is written."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from ramekin.amp import Recipe
from ramekin.history import Switch
from ramekin.records import summarize
from ramekin.report import Run
from ramekin.report.colors import ALARM, EXACT, UNKNOWN, paint_of_bits, paint_of_noise
from ramekin.report.curves import loss_curves
from ramekin.report.exponents import exponent_histograms, exponent_window
from ramekin.report.gaps import gaps_picture
from ramekin.report.loss_scale import loss_scale_picture
from ramekin.report.noise import OPERANDS, noise_map
from ramekin.report.picture import Area, Dot, Label, Line, Picture, Rect, beside, stack, text_width
from ramekin.report.precision import precision_map, switch_texts
from ramekin.report.svg import standalone_svg
from report_runs import SLOTS, history, observed, run

STAGED = (
    Switch(0, "*", "float8"),
    Switch(0, "2", "mxfp4"),
    Switch(20, "*", "bfloat16"),
    Switch(30, "2", "float32", "too noisy"),
)


def rects(picture: Picture, hint: str = "") -> list[Rect]:
    return [mark for mark in picture.marks if isinstance(mark, Rect) and mark.hint and hint in mark.hint]


def inside(picture: Picture) -> None:
    """Everything lies on the picture, texts too, and nothing is written twice at one place."""
    for mark in picture.marks:
        if isinstance(mark, Label):
            width = text_width(mark.text, mark.size)
            start = mark.x - {"start": 0, "middle": width / 2, "end": width}[mark.anchor]
            box = [(start, mark.y - mark.size / 2), (start + width, mark.y + mark.size / 2)]
        elif isinstance(mark, Rect):
            box = [(mark.x, mark.y), (mark.x + mark.width, mark.y + mark.height)]
            assert mark.width >= 0
            assert mark.height >= 0
        elif isinstance(mark, Dot):
            box = [(mark.x, mark.y)]
        else:
            box = list(mark.points)
        for x, y in box:
            assert -1 <= x <= picture.width + 1, mark
            assert -1 <= y <= picture.height + 1, mark
    places = [(mark.x, mark.y) for mark in picture.marks if isinstance(mark, Label)]
    assert len(set(places)) == len(places)


# --- precision ---


def test_a_span_for_each_recipe_of_a_layer() -> None:
    staged = run("staged", layers=["0", "2"], switches=STAGED)
    picture = precision_map(staged)
    inside(picture)
    spans = rects(picture)
    assert [mark.hint for mark in spans] == [
        "0: float8, steps 0 to 19",
        "0: bfloat16, steps 20 to 39",
        "2: mxfp4, steps 0 to 29",
        "2: float32, steps 30 to 39",
    ]
    assert [mark.paint for mark in spans] == [paint_of_bits(bits) for bits in (8, 16, 4, 32)]
    # Half of the steps are half of the width, but for the gap between spans.
    assert spans[0].width == pytest.approx(spans[1].width)
    assert spans[2].width + 1 == pytest.approx(3 * (spans[3].width + 1))
    for text in ("float8", "bfloat16", "mxfp4", "float32", "layer 0", "layer 2", "1", "bits:"):
        assert text in picture.texts
    assert picture.texts[-4:] == ["4", "8", "16", "32"]


def test_switches_are_told_in_the_order_of_their_numbers() -> None:
    staged = run("staged", layers=["0", "2"], switches=STAGED)
    assert switch_texts(staged) == [
        "step 20, other layers: float8 to bfloat16",
        "step 30, layer 2: mxfp4 to float32 (too noisy)",
    ]
    marked = [mark for mark in precision_map(staged).marks if isinstance(mark, Dot)]
    assert len(marked) == 2


def test_without_observations_rows_are_the_groups_of_the_schedule() -> None:
    picture = precision_map(run("staged", switches=STAGED))
    assert [mark.hint.partition(":")[0] for mark in rects(picture)] == ["*", "*", "2", "2"]
    assert "all layers" in picture.texts


def test_very_many_switches_are_drawn_as_some() -> None:
    switches = tuple(Switch(step, "0", "float8" if step % 2 else "mxfp4") for step in range(5000))
    picture = precision_map(run("auto", steps=5000, layers=["0"], switches=switches))
    inside(picture)
    spans = rects(picture)
    assert len(spans) == 160
    assert sum(mark.width + 1 for mark in spans) == pytest.approx(560.0)
    assert not any(isinstance(mark, Dot) for mark in picture.marks)


def test_recipes_of_ones_own_have_bits_if_they_are_given() -> None:
    own = Recipe("mine", "float8_e4m3fn", "float8_e4m3fn", "float16")
    seen = history("mine", layers=["0"])
    assert [mark.paint for mark in rects(precision_map(Run("mine", seen)))] == [UNKNOWN]
    assert [mark.paint for mark in rects(precision_map(Run("mine", seen, recipes=(own,))))] == [
        paint_of_bits(16)
    ]
    assert "not known" in precision_map(Run("mine", seen)).texts


def test_long_names_of_layers_are_cut_in_their_middle() -> None:
    name = "encoder.layers.11.self_attention.out_projection"
    picture = precision_map(run(layers=[name]))
    inside(picture)
    assert "encoder.la…_projection" in picture.texts
    assert rects(picture)[0].hint.startswith(name)


# --- noise ---


def test_a_cell_for_each_layer_and_observed_step() -> None:
    picture = noise_map(run(layers=["0", "2", "4"]), "weights")
    inside(picture)
    cells = rects(picture)
    assert len(cells) == 3 * 10
    assert cells[0].hint == "0, step 0: 31.5 dB, float8"
    assert cells[-1].hint == "4, step 36: 31.5 dB, float8"
    assert {mark.paint for mark in cells} == {paint_of_noise(31.5)}
    row = [mark for mark in cells if mark.hint.startswith("2,")]
    assert [mark.x for mark in row[1:]] == pytest.approx([mark.x + mark.width for mark in row[:-1]], abs=1e-9)
    assert picture.texts.count("31.5 dB") == 3


def test_the_noisiest_counts() -> None:
    ratios = {"weights": 40.0, "dgrad_weights": 12.0, "activations": 5.0, "gradients": math.inf}
    seen = [observed(0, "0", slot, sqnr=ratio) for slot, ratio in ratios.items()]
    seen.append(observed(0, "0", "wgrad_gradients", sqnr=math.nan))
    noisy = run(observations=tuple(seen))
    [cell] = rects(noise_map(noisy, "weights"))
    assert (cell.paint, cell.hint) == (paint_of_noise(12.0), "0, step 0: 12.0 dB, float8")
    [cell] = rects(noise_map(noisy, "gradients"))
    assert (cell.paint, "unknown" in cell.hint) == (UNKNOWN, True)
    exact = run(observations=(observed(0, "0", "weights", sqnr=math.inf),))
    [cell] = rects(noise_map(exact, "weights"))
    assert (cell.paint, cell.hint) == (EXACT, "0, step 0: exact, float8")


def test_many_observations_share_columns() -> None:
    every = tuple(
        observed(step, layer, "weights", sqnr=5.0 if step == 777 else 50.0)
        for step in range(1000) for layer in ("0", "1")
    )  # fmt: skip
    picture = noise_map(run(steps=1000, observations=every), "weights")
    cells = rects(picture)
    assert len(cells) == 2 * 44
    loud = [mark.hint for mark in cells if mark.paint == paint_of_noise(5.0)]
    assert loud == ["0, step 777: 5.0 dB, float8", "1, step 777: 5.0 dB, float8"]


# --- exponents ---


def test_histograms_and_the_reach_of_formats() -> None:
    picture = exponent_histograms(run("float8-unscaled", layers=["0", "2"]), "gradients")
    inside(picture)
    bars = rects(picture, "%")
    # Ten exponents in three steps; 80 of 200 numbers at 2^-5.
    assert len(bars) == 30
    assert bars[7].hint == "2⁻⁵: 40 %"
    assert max(bars, key=lambda mark: mark.height) in (bars[7], bars[17], bars[27])
    assert bars[7].height == pytest.approx(2 * bars[6].height)
    # Ten observed steps, of which 16 and 20 are as near to the middle.
    for text in ("step 0", "step 16", "step 36"):
        assert text in picture.texts
    # Its own format comes first, where its numbers are: 2^-16 to 2^-14 are subnormal, 57344 < 2^16.
    subnormal, normal = rects(picture, "float8_e5m2")
    assert (subnormal.hint, normal.hint) == ("float8_e5m2: 2⁻¹⁶ to 2⁻¹⁴", "float8_e5m2: 2⁻¹⁴ to 2¹⁶")
    assert subnormal.height < normal.height
    at = {mark.hint.partition(":")[0]: mark.x for mark in bars}
    assert at["2⁻⁵"] - at["2⁻⁶"] == pytest.approx(at["2⁻⁶"] - at["2⁻⁷"])
    # The window ends before 2^16: the bar reaches its edge.
    assert normal.x + normal.width == pytest.approx(max(mark.x + mark.width for mark in rects(picture)))
    names = [text for text in picture.texts if text.startswith(("float", "bfloat"))]
    assert names == ["float8_e5m2", "bfloat16", "float16", "float8_e4m3fn", "float6_e3m2fn", "float4_e2m1fn"]


def test_a_scaled_format_lies_where_the_largest_number_is() -> None:
    picture = exponent_histograms(run("float8", layers=["0"]), "activations")
    # 448 = 1.75 * 2^8 goes to amax = 0.2 = 1.6 * 2^-3: smallest normal 2^-6, so 2^-17, subnormal 2^-20.
    subnormal, normal = rects(picture, "scaled")
    assert subnormal.hint == "float8_e4m3fn, scaled: 2⁻²⁰ to 2⁻¹⁷"
    assert normal.hint == "float8_e4m3fn, scaled: 2⁻¹⁷ to 2⁻²"


def test_gradients_of_a_first_layer_are_those_of_wgrad() -> None:
    seen = [observed(0, "0", "wgrad_gradients", exponents=(100,), lowest_exponent=-10)]
    picture = exponent_histograms(run(observations=tuple(seen)), "gradients")
    assert [mark.hint for mark in rects(picture, "%")] == ["2⁻¹⁰: 100 %"]
    assert "not observed" in exponent_histograms(run(observations=tuple(seen)), "weights").texts
    # Where there is a dgrad its operand alone is counted.
    seen += [observed(0, "2", slot, exponents=(100,), lowest_exponent=-8) for slot in OPERANDS["gradients"]]
    both = exponent_histograms(run(observations=tuple(seen)), "gradients")
    assert [mark.hint for mark in rects(both, "%")] == ["2⁻¹⁰: 50 %", "2⁻⁸: 50 %"]


def test_what_was_lost_is_said() -> None:
    seen = tuple(
        observed(0, layer, "gradients", underflow=share, overflow=0.5)
        for layer, share in (("0", 0.0), ("1", 0.25))
    )
    picture = exponent_histograms(run(observations=seen), "gradients")
    assert "12 % became 0, 50 % too large" in picture.texts
    little = (observed(0, "0", "gradients", underflow=1e-6),)
    assert "<0.01 % became 0" in exponent_histograms(run(observations=little), "gradients").texts
    assert len([text for text in picture.texts if text.startswith("step")]) == 1


def test_window_of_exponents() -> None:
    narrow = run(observations=(observed(0, "0", "weights", exponents=(5,), lowest_exponent=3),))
    assert exponent_window(narrow) == (6 - 24, 6)
    wide = run(observations=(observed(0, "0", "weights", exponents=(1,) * 300, lowest_exponent=-149),))
    low, high = exponent_window(wide)
    assert (high, high - low) == (150 + 3, 46)
    # One number of a million does not stretch it.
    tail = run(
        observations=(observed(0, "0", "weights", exponents=(1, *[0] * 29, 10**6), lowest_exponent=-30),)
    )
    assert exponent_window(tail) == (3 - 24, 3)


# --- curves ---


def test_a_curve_for_each_name() -> None:
    runs = [run("float32"), run("float8"), run("float8", seed=1, test_losses=(1.0, 0.5, 0.4, 0.3))]
    picture = loss_curves(runs, "title")
    inside(picture)
    assert "float32  0.175" in picture.texts
    mean = (0.3 + runs[0].history.test_losses[-1]) / 2
    assert f"float8  {mean:#.3g}" in picture.texts
    assert any("Means of 2 seeds" in text for text in picture.texts)
    [band] = [mark for mark in picture.marks if isinstance(mark, Area)]
    assert len(band.points) == 2 * 4
    tests = [mark for mark in picture.marks if isinstance(mark, Line) and mark.width in (4.5, 1.8)]
    # Curves and the pieces beside their names.
    assert len([mark for mark in tests if len(mark.points) == 4]) == 2
    lower = min((mark for mark in tests if len(mark.points) == 4), key=lambda mark: mark.points[-1][1])
    assert lower.width == 1.8  # a higher loss is further up


def test_gaps_in_curves() -> None:
    broken = run(step_losses=(1.0, math.nan, 0.5, 0.4, math.inf, 0.2, 0.1, 0.1), steps=8, epochs=4)
    picture = loss_curves([broken])
    faint = [len(mark.points) for mark in picture.marks if isinstance(mark, Line) and mark.opacity == 0.45]
    assert faint == [2, 3]


def test_losses_below_zero_are_drawn_on_a_plain_scale() -> None:
    picture = loss_curves([run(test_losses=(0.5, -0.5, -1.0, -1.5))])
    inside(picture)
    assert "-1" in picture.texts
    assert "0" in picture.texts


def test_many_names_do_not_lie_on_each_other() -> None:
    picture = loss_curves([run(f"own{number}") for number in range(30)])
    inside(picture)
    heights = sorted(
        mark.y for mark in picture.marks if isinstance(mark, Label) and mark.text.startswith("own")
    )
    assert min(np.diff(heights)) >= 14


# --- distances ---


def gaps(*runs: Run) -> Picture | None:
    return gaps_picture(summarize(item.record for item in runs))


def test_distances_to_float32() -> None:
    base = run("float32", test_losses=(1.0, 1.0, 1.0, 1.0))
    picture = gaps(
        base,
        run("bfloat16", test_losses=(1.0, 1.0, 1.0, 1.1)),
        run("float8", test_losses=(1.0, 1.0, 1.0, 0.95)),
        run("mxfp4", test_losses=(1.0, 1.0, 1.0, 9.0)),
        run("float16", test_losses=(1.0, 1.0, 1.0, math.nan)),
    )
    assert picture is not None
    inside(picture)
    dots = [mark for mark in picture.marks if isinstance(mark, Dot)]
    assert [mark.hint for mark in dots] == ["bfloat16: +10.00 %", "float8: -5.00 %", "mxfp4: +800.00 %"]
    assert dots[1].x < dots[0].x < dots[2].x
    for text in ("+10.00 %", "-5.00 %", "+800.00 % >", "loss not finite"):
        assert text in picture.texts
    assert gaps(base) is None
    assert gaps(run("float8"), run("mxfp4")) is None


def test_distances_of_accuracy_are_points() -> None:
    picture = gaps(
        run("float32", test_accuracies=(0.5, 0.6, 0.7, 0.9)), run(test_accuracies=(0.5, 0.6, 0.7, 0.89))
    )
    assert picture is not None
    assert "-1.00 points" in picture.texts
    assert any("further right is better" in text for text in picture.texts)


# --- loss scale ---


def test_loss_scale_and_skipped_steps() -> None:
    scaled = run(
        "float16", loss_scales=(1024.0,) * 10 + (512.0,) * 30,
        steps_taken=(True,) * 9 + (False,) + (True,) * 30, skipped_steps=1,
    )  # fmt: skip
    picture = loss_scale_picture([run("float32"), scaled])
    assert picture is not None
    inside(picture)
    [curve] = [mark for mark in picture.marks if isinstance(mark, Line) and len(mark.points) == 4]
    (_, high), (corner, same), (again, low), _ = curve.points
    assert (high, corner) == (same, again)
    assert high < low
    assert "float16  512, 1 skipped" in picture.texts
    assert "2¹⁰" in picture.texts
    assert not any(text.startswith("float32") for text in picture.texts)
    assert loss_scale_picture([run("float32"), run()]) is None


def test_a_scale_that_never_rests_has_a_bounded_picture() -> None:
    restless = run("float16", steps=50_000, loss_scales=tuple(2.0 ** (step % 9) for step in range(50_000)))
    picture = loss_scale_picture([restless])
    assert picture is not None
    assert max(len(mark.points) for mark in picture.marks if isinstance(mark, Line)) <= 2 * 400 + 2


# --- pictures ---


def test_pictures_side_by_side_and_one_below_the_other() -> None:
    one, two = precision_map(run(layers=["0"])), noise_map(run(layers=["0"]), "weights")
    row = beside([one, two])
    assert row.width == pytest.approx(one.width + two.width + 32)
    assert row.texts == one.texts + two.texts
    whole = stack("all", "told", [row, loss_curves([run()])])
    inside(whole)
    root = ElementTree.fromstring(standalone_svg(whole))
    names = {"rect", "circle", "text", "polyline", "polygon"}
    drawn = [child for child in root if child.tag.rpartition("}")[2] in names]
    assert len(drawn) == len(whole.marks) + 1  # and the background
    texts = [child.text for child in drawn if child.tag.endswith("}text")]
    assert texts == whole.texts


@pytest.mark.parametrize("group", OPERANDS)
def test_every_picture_says_what_it_shows(group: str) -> None:
    seen = run(layers=["0"])
    for picture in (noise_map(seen, group), exponent_histograms(seen, group), precision_map(seen)):
        assert picture.title
        assert len(picture.description) > 20
    assert set(OPERANDS[group]) < set(SLOTS)
    assert ALARM != EXACT
