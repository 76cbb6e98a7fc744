"""Matrix products and transposes, on elements: a diagonal costs what a diagonal costs. (MeqTrees: same.)"""

from __future__ import annotations

from functools import reduce

from rimetree.graph.node import Ring, child
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, dims_text, order
from rimetree.ring import Tensor


def transpose(tensor: Tensor) -> Tensor:
    """Rows as columns; scalars and vectors as they are."""
    if len(tensor.dims) < 2:
        return tensor
    if len(tensor.dims) > 2:
        raise ValueError(f"{dims_text(tensor.dims)} cannot be transposed: it is not a matrix")
    rows, columns = tensor.dims
    return Tensor((columns, rows), tuple(tensor[i, j] for j in range(columns) for i in range(rows)))


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, dims as numpy's matmul; a scalar multiplies every element of the other."""
    if not a.dims or not b.dims:
        return Tensor(a.dims or b.dims, tuple(x * y for x in a.elements for y in b.elements))
    if max(len(a.dims), len(b.dims)) > 2 or a.dims[-1] != b.dims[0]:
        raise ValueError(f"{dims_text(a.dims)} and {dims_text(b.dims)} cannot be multiplied as matrices")
    inner = b.dims[0]
    rows, columns = len(a.elements) // inner, len(b.elements) // inner
    elements = (
        sum(a.elements[i * inner + k] * b.elements[k * columns + j] for k in range(inner))
        for i in range(rows)
        for j in range(columns)
    )
    return Tensor(a.dims[:-1] + b.dims[1:], tuple(elements))


@node
class MatrixMultiply(Ring):
    """The matrix product a b c ..., in order. Matrices, vectors (dims as numpy's matmul) and scalars."""

    factors = child(help="scalars, vectors, matrices whose inner dims agree; any unit", many=True)

    @staticmethod
    def ring(*factors: Tensor) -> Tensor:
        return reduce(product, factors)

    @staticmethod
    def example() -> Examples:
        return [(dims, {}) for dims in (((2, 2), (2, 2), (2, 2)), ((), (2, 3), (3, 2)), ((2, 2), (2,)), ((2,), (2, 2)))]


@node
class Transpose(Ring):
    """The transpose of a matrix, without conjugation; scalars and vectors stay as they are."""

    matrix = child(help="matrix, any unit")

    @staticmethod
    def ring(matrix: Tensor) -> Tensor:
        return transpose(matrix)

    @staticmethod
    def example() -> Examples:
        return [((dims,), {}) for dims in ((2, 2), (2, 3), (3,), ())]


@node
class ConjTranspose(Ring):
    """The conjugate transpose (Hermitian adjoint) of a matrix; scalars and vectors are conjugated."""

    matrix = child(help="matrix, any unit")

    @staticmethod
    def ring(matrix: Tensor) -> Tensor:
        return transpose(matrix).map(lambda e: e.conjugate())

    example = Transpose.example


@node
class Determinant(Ring):
    """The determinant of a square matrix, or a scalar itself.

    By Bird's recursion, which needs no division: mu(X) is minus the sum of the diagonal further down in each row's place,
    and the elements above the diagonal; F(X) = mu(X) A; det A = +- F(F(...(A)))[0, 0], n - 1 times. Reference: Bird 2011,
    Information Processing Letters 111, 1072.
    """

    matrix = child(help="square matrix or scalar, any unit")

    @staticmethod
    def ring(matrix: Tensor) -> Tensor:
        n = order("Determinant", matrix)
        if not matrix.dims:
            return matrix
        x = matrix
        for _ in range(n - 1):
            below = [sum((x[k, k] for k in range(i + 1, n)), 0) for i in range(n)]
            mu = [-below[i] if i == j else x[i, j] if i < j else 0 for i in range(n) for j in range(n)]
            x = product(Tensor((n, n), tuple(mu)), matrix)
        return Tensor.scalar(x.elements[0] if n % 2 else -x.elements[0])

    @staticmethod
    def example() -> Examples:
        return [(((n, n),), {}) for n in (1, 2, 3, 4)] + [(((),), {})]


@node
class Trace(Ring):
    """The sum of the diagonal elements of a square matrix; of a scalar, itself."""

    matrix = child(help="square matrix or scalar, any unit")

    @staticmethod
    def ring(matrix: Tensor) -> Tensor:
        n = order("Trace", matrix)
        return Tensor.scalar(sum((matrix[i, i] for i in range(n)), 0)) if matrix.dims else matrix

    example = Determinant.example
