"""The compiled core. Private: the package's public functions check what these take for granted."""

from typing import Any, ClassVar, Self, TypeAlias, final, overload

import numpy as np
from numpy.typing import NDArray

from ramekin.formats import FloatFormat

__version__: str

# Exponent bits, mantissa bits, bias, signed, has infinity, high NaNs, has negative zero.
Numbers: TypeAlias = tuple[int, int, int, bool, bool, int, bool]

# Inputs tried, wrong answers, and the first of those as bits: input, answer, right answer.
_Found: TypeAlias = tuple[int, int, tuple[int, int, int] | None]

# Largest error and largest relative error; sums of err**2, x**2, x y and y**2; counts of overflow, of
# underflow, of pairs that are not finite, and of all.
_Totals: TypeAlias = tuple[float, float, float, float, float, float, int, int, int, int]

class Format:
    def __new__(cls, name: str, numbers: Numbers | None, dtype: np.dtype[Any] | None) -> Self: ...
    @property
    def numbers(self) -> Numbers: ...
    @property
    def native_dtype(self) -> np.dtype[Any] | None: ...
    @property
    def name(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def exponent_bits(self) -> int: ...
    @property
    def mantissa_bits(self) -> int: ...
    @property
    def bias(self) -> int: ...
    @property
    def signed(self) -> bool: ...
    @property
    def has_infinity(self) -> bool: ...
    @property
    def has_nan(self) -> bool: ...
    @property
    def has_zero(self) -> bool: ...
    @property
    def has_negative_zero(self) -> bool: ...
    @property
    def max_code(self) -> int: ...

@final
class Proof:
    def __init__(self, format: Format, rounding: str, saturate: bool) -> None: ...
    @property
    def runs(self) -> int: ...
    def sweep(self, isa: str, start: int, stop: int) -> _Found: ...
    def check_encode(self, isa: str) -> _Found: ...
    def check_round_to(self, isa: str) -> _Found: ...

@final
class PackedMatrix:
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def format(self) -> FloatFormat: ...
    @property
    def nbytes(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object) -> Self: ...

@final
class Scaled:
    """Codes and scales as an operand of products; axes in the tensor's order."""

    def __new__(
        cls,
        codes: NDArray[Any],
        scales: NDArray[Any] | None,
        element: Format,
        scale: Format | None,
        blocks: list[int],
        packed: int | None,
        length: int,
        integers: bool,
        tensor_scale: float | None,
    ) -> Self: ...

@final
class TensorCore:
    presets: ClassVar[tuple[str, ...]]
    @overload
    def __new__(cls, preset: str) -> Self: ...
    @overload
    def __new__(cls, *, terms: int, fraction_bits: int, mantissa_bits: int) -> Self: ...
    @property
    def terms(self) -> int: ...
    @property
    def fraction_bits(self) -> int: ...
    @property
    def mantissa_bits(self) -> int: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]: ...

def roofline(pairs: bool, seconds: float) -> tuple[float, float] | None: ...
def named_formats() -> list[str]: ...
def p3109(bits: int, precision: int, signed: bool, extended: bool) -> tuple[str, Numbers]: ...
def register_dtypes(dtypes: list[tuple[np.dtype[Any], Format | None]]) -> None: ...
def cast_small(
    x: object,
    format: Format,
    codes: bool,
    rounding: str,
    saturate: bool,
    out: NDArray[Any] | None,
) -> NDArray[Any] | None: ...
def encode(
    src: NDArray[Any],
    src_format: Format | None,
    dst: NDArray[Any],
    dst_format: Format,
    rounding: str,
    saturate: bool,
    seed: int,
) -> None: ...
def decode(src: NDArray[Any], dst: NDArray[Any], format: Format) -> None: ...
def round_to(
    src: NDArray[Any], dst: NDArray[Any], format: Format, rounding: str, saturate: bool, seed: int
) -> None: ...
def packed_len(codes: int, bits: int) -> int: ...
def pack(src: NDArray[Any], dst: NDArray[Any], bits: int) -> None: ...
def unpack(src: NDArray[Any], dst: NDArray[Any], bits: int) -> None: ...
def quantize(
    x: NDArray[Any],
    codes: NDArray[Any],
    scales: NDArray[Any],
    element: Format,
    scale: Format | None,
    block: tuple[int, int] | None,
    scale_rounding: str | None,
    rounding: str,
    seed: int,
    tensor_scale: bool,
    amax: float | None,
    integer: bool,
    stats: bool,
) -> tuple[float | None, _Totals | None]: ...
def dequantize(
    codes: NDArray[Any],
    scales: NDArray[Any],
    out: NDArray[Any],
    element: Format,
    scale: Format | None,
    block: tuple[int, int] | None,
    tensor_scale: float | None,
    integer: bool,
) -> None: ...
def dot(a: object, b: object) -> np.float32 | None: ...
def matmul(a: object, b: object, out: object) -> NDArray[np.float32] | None: ...
def dot_accumulated(
    a: object, b: object, accumulate: str | TensorCore, chunk: int | None
) -> np.float32 | None: ...
def matmul_accumulated(
    a: object, b: object, accumulate: str | TensorCore, chunk: int | None, out: object
) -> NDArray[np.float32] | None: ...
def pack_matrix(b: object) -> PackedMatrix | None: ...
def apply(function: str, x: NDArray[np.float32], y: NDArray[np.float32]) -> None: ...
def apply_gradient(
    function: str, x: NDArray[np.float32], dy: NDArray[np.float32], dx: NDArray[np.float32]
) -> None: ...
def reduce_rows(kind: str, x: NDArray[np.float32], width: int, out: NDArray[np.float32]) -> None: ...
def sum_columns(x: NDArray[np.float32], out: NDArray[np.float32]) -> None: ...
def softmax(x: NDArray[np.float32], width: int, logarithm: bool, y: NDArray[np.float32]) -> None: ...
def softmax_gradient(
    y: NDArray[np.float32], dy: NDArray[np.float32], width: int, dx: NDArray[np.float32]
) -> None: ...
def cross_entropy(
    x: NDArray[np.float32],
    width: int,
    labels: NDArray[np.int64],
    scale: float,
    losses: NDArray[np.float32],
    gradient: NDArray[np.float32],
) -> float: ...
def normalize(
    centred: bool,
    eps: float,
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    y: NDArray[np.float32],
) -> None: ...
def normalize_gradient(
    centred: bool,
    eps: float,
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    dy: NDArray[np.float32],
    dx: NDArray[np.float32],
    by_weight: NDArray[np.float32],
    by_bias: NDArray[np.float32] | None,
) -> None: ...
def sgd_step(
    value: NDArray[np.float32],
    gradient: NDArray[np.float32],
    buffer: NDArray[np.float32] | None,
    first: bool,
    rate: float,
    weight_decay: float,
    momentum: float,
) -> None: ...
def adamw_step(
    value: NDArray[np.float32],
    gradient: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
    rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None: ...
def sgd_step_short(
    value: NDArray[np.float32],
    gradient: NDArray[np.float32],
    buffer: NDArray[np.uint16],
    seed: int,
    first: bool,
    rate: float,
    weight_decay: float,
    momentum: float,
) -> None: ...
def adamw_step_short(
    value: NDArray[np.float32],
    gradient: NDArray[np.float32],
    mean: NDArray[np.uint16],
    square: NDArray[np.uint16],
    seeds: tuple[int, int],
    rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None: ...
def scale(x: NDArray[np.float32], factor: float) -> bool: ...
def all_finite(x: NDArray[np.float32]) -> bool: ...
def add(x: NDArray[np.float32], y: NDArray[np.float32], out: NDArray[np.float32]) -> None: ...
def add_row(x: NDArray[np.float32], row: NDArray[np.float32]) -> None: ...
def dropout(x: NDArray[np.float32], p: float, seed: int, y: NDArray[np.float32]) -> None: ...
def total_of_squares(x: NDArray[np.float32]) -> float: ...
def sum_rows_by_label(
    x: NDArray[np.float32], width: int, labels: NDArray[np.int64], out: NDArray[np.float32]
) -> None: ...
def squared_error(
    x: NDArray[np.float32], targets: NDArray[np.float32], scale: float, gradient: NDArray[np.float32]
) -> float: ...
def isa() -> str: ...
def isa_levels() -> list[str]: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def check_decode(format: Format, isa: str) -> _Found: ...
def deterministic_roundings() -> list[str]: ...
