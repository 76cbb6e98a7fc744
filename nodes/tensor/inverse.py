"""The inverse of a matrix, on elements: a diagonal costs what a diagonal costs. (MeqTrees: same.)"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rimetree.graph.node import Function, child
from rimetree.graph.registry import node
from rimetree.nodes.math.real import root
from rimetree.nodes.tensor.shapes import Examples, expect, order
from rimetree.ring import NUMBERS, Element, Plane, Tensor

SINGULAR = "a matrix of constants is singular: it has no inverse"


@node
class MatrixInvert22(Function):
    """The inverse of a 2x2 matrix, [[d, -b], [-c, a]] / (a d - b c), or of a scalar.

    Elements that are 0 when compiling stay 0: a diagonal matrix costs two divisions. Infinite or NaN where the matrix
    is singular; a matrix of constants that is singular is refused.
    """

    matrix = child(help="2x2 matrix or scalar, any unit")

    @staticmethod
    def compute(matrix: Tensor) -> Tensor:
        if not expect("the child of MatrixInvert22", matrix, (), (2, 2)).dims:
            return matrix.map(lambda e: _ratio(1, e))
        a, b, c, d = matrix.elements
        if _zero(b) and _zero(c):
            return Tensor((2, 2), (_ratio(1, a), 0, 0, _ratio(1, d)))
        determinant = a * d - b * c
        return Tensor((2, 2), tuple(_ratio(e, determinant) for e in (d, -b, -c, a)))

    @staticmethod
    def example() -> Examples:
        return [((np.array([[2.0, 0.3], [0.4, 1.5]]),), {}), (((),), {})]


@node
class MatrixInvert(Function):
    """The inverse of a square matrix of any size, or of a scalar; as MatrixInvert22 where that is enough.

    A matrix that is diagonal when compiling costs one division per element; others above 2x2 are factorised (LU with
    pivoting). Infinite or NaN where the matrix is singular; a matrix of constants that is singular is refused.
    """

    matrix = child(help="square matrix or scalar, any unit")

    @staticmethod
    def compute(matrix: Tensor) -> Tensor:
        n = order("MatrixInvert", matrix)
        if matrix.dims in ((), (2, 2)):
            return MatrixInvert22.compute(matrix)
        if all(_zero(matrix[i, j]) for i in range(n) for j in range(n) if i != j):
            return Tensor(
                matrix.dims, tuple(_ratio(1, matrix[i, i]) if i == j else 0 for i in range(n) for j in range(n))
            )
        if all(isinstance(e, NUMBERS) for e in matrix.elements):
            square = np.reshape(matrix.elements, (n, n))
            if np.linalg.matrix_rank(square) < n:
                raise ValueError(SINGULAR)
            return Tensor(matrix.dims, tuple(np.linalg.inv(square).ravel().tolist()))
        arrays = [e.array if isinstance(e, Plane) else e for e in matrix.elements]
        planes = jnp.stack(jnp.broadcast_arrays(*arrays), -1)
        inverse = jnp.linalg.inv(planes.reshape(*planes.shape[:-1], n, n))
        return Tensor(matrix.dims, tuple(Plane(inverse[..., i, j]) for i in range(n) for j in range(n)))

    @staticmethod
    def example() -> Examples:
        random = np.random.default_rng(2)
        return [((np.eye(n) + 0.3 * random.normal(size=(n, n)),), {}) for n in (1, 2, 3, 5)] + [(((),), {})]


@node
class Norm(Function):
    """The length of a vector, or the Frobenius norm of a tensor: sqrt(sum |element|^2); of a scalar, |x|. Always real.

    The derivative is 0 where the norm is 0.
    """

    tensor = child(help="any scalar or tensor, any unit")

    @staticmethod
    def compute(tensor: Tensor) -> Tensor:
        square = sum((e * e.conjugate() for e in tensor.elements), 0)
        if isinstance(square, NUMBERS):
            return Tensor.scalar(abs(square) ** 0.5)
        return Tensor.scalar(Plane(root(jnp.real(square.array))))

    @staticmethod
    def example() -> Examples:
        return [(((3,),), {}), (((2, 2),), {}), (((),), {})]


def _zero(element: Element) -> bool:
    return isinstance(element, NUMBERS) and element == 0


def _ratio(above: Element, below: Element) -> Element:
    if _zero(below):
        raise ValueError(SINGULAR)
    if isinstance(below, NUMBERS):
        return above * (1 / below)
    if _zero(above):
        return 0
    return Plane(jnp.divide(above.array if isinstance(above, Plane) else above, below.array))
