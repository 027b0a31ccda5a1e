"""The digits: content, split, attribution."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from ramekin.datasets import load_digits, split_digits


def test_content() -> None:
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8)
    assert labels.shape == (1797,)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # The first image as the source prints it: a zero.
    assert labels[0] == 0
    assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_split_is_a_partition_in_equal_shares() -> None:
    images, labels = load_digits()
    split = split_digits()
    assert split.train_images.shape == (901, 64)
    assert split.test_images.shape == (896, 64)
    joined = np.concatenate([split.train_images, split.test_images]) * 16
    whole = images.reshape(-1, 64)
    assert sorted(map(bytes, joined.astype(np.uint8))) == sorted(map(bytes, whole))
    assert np.array_equal(np.bincount(split.test_labels), np.bincount(labels) // 2)
    assert split.train_images.dtype == np.float32
    assert split.train_labels.dtype == np.int64


def test_labels_stay_with_their_images() -> None:
    images, labels = load_digits()
    known = {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
    split = split_digits()
    for pixels, digits in (
        (split.train_images, split.train_labels),
        (split.test_images, split.test_labels),
    ):
        restored = (pixels * 16).astype(np.uint8)
        assert all(
            (image.tobytes(), int(label)) in known for image, label in zip(restored, digits, strict=True)
        )


def test_split_is_fixed() -> None:
    first, second = split_digits(), split_digits()
    assert np.array_equal(first.test_images, second.test_images)
    # Every second image of each digit: the second zero of the file is the first zero of the test.
    images, labels = load_digits()
    second = images[np.flatnonzero(labels == 0)[1]].reshape(64)
    assert np.array_equal(first.test_images[first.test_labels == 0][0] * 16, second)


def test_attribution_ships_with_the_data() -> None:
    text = (files("ramekin.datasets") / "README.md").read_text(encoding="utf-8")
    for part in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0"):
        assert part in text
