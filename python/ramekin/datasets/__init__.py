"""Data: handwritten digits of 8 by 8 pixels, which come with the package, and one's own from files.

Source and licence of the digits, and how their file was made: ``README.md`` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from ramekin.datasets.dataset import Dataset, read_dataset, standardized

__all__ = ["Dataset", "Split", "load_digits", "read_dataset", "split_digits", "standardized"]

#: Largest pixel value: each pixel counts the set dots of a 4 by 4 block of the scan.
PIXEL_MAX = 16

_TEST_EVERY = 2


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Digits for training and for testing.

    Attributes
    ----------
    train_images, test_images : ndarray of float32, shape (n, 64)
        Pixels divided by 16: exact multiples of 1/16 in [0, 1].
    train_labels, test_labels : ndarray of int64, shape (n,)
        The digit, 0 to 9.
    """

    train_images: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]


def load_digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """All 1,797 digits.

    Returns
    -------
    images : ndarray of uint8, shape (1797, 8, 8)
        Values 0 (paper) to 16 (ink).
    labels : ndarray of uint8, shape (1797,)
    """
    with (files(__name__) / "digits.npz").open("rb") as file, np.load(file) as data:
        return data["images"], data["labels"]


def split_digits() -> Split:
    """Return the fixed split into 901 training and 896 test digits.

    Of each digit's images, in the order of the file, every second goes to the test set. So the
    split depends on no seed, both sets hold the ten digits in equal shares, and the test set is large enough
    that one image more or less is 0.11 percentage points of accuracy.
    """
    images, labels = load_digits()
    pixels = images.reshape(len(images), -1).astype(np.float32) / np.float32(PIXEL_MAX)
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    classes = labels.astype(np.int64)
    return Split(pixels[~test], classes[~test], pixels[test], classes[test])
