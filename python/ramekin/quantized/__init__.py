"""Arrays in scaled formats.

``array`` holds the class; beside it lie where codes and scales are (``layout``), what they are held in
(``stored``), indexing (``slicing``), and another library's layout (``torchao``).
"""

from __future__ import annotations

from ramekin.quantized.array import Parts, QuantizedArray

__all__ = ["Parts", "QuantizedArray"]
