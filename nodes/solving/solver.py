"""Fitting parameters."""

from __future__ import annotations

from typing import Any

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, child, option
from rimetree.graph.registry import node

ALGORITHMS = ("auto", "lm", "gn-cg", "newton", "scipy", "ceres")


@node
class Solver(NodeClass):
    """Fits parameters to equations: minimises the sum of weight |data - model|^2 by Levenberg-Marquardt.

    `solvable` says which Parms below the equations are fitted; the others keep their values. Equations that share no
    parameter and solution intervals are independent problems, each with its own damping, convergence and status.
    (MeqTrees: Solver.)

    `robust` bounds what outliers can do: data are weighted by how far they are off, until the solution stays. Errors and
    chi2 per degree of freedom keep their meaning. "clip" leaves data out; a Sink with flag=True then flags them.
    """

    role = "solver"
    commutative = True
    equations = child(help="Condeq nodes", many=True)
    solvable = option(
        type=kinds.NAMES, required=True, example="gain", help="a tag or a Parm's name, or a list of these"
    )
    max_iter = option(60, type=kinds.whole(1), help="damped steps after which a problem counts as not converged")
    tol = option(
        1e-6, type=kinds.real(above=0), help="converged when the relative change of the parameters is below this"
    )
    algorithm = option(
        "auto",
        choices=ALGORITHMS,
        help="lm: Levenberg-Marquardt, Parms of different solution intervals in turn; gn-cg: all jointly, by conjugate "
        "gradients, without a normal matrix; auto: gn-cg where the intervals differ, or where sums or the matrix do not fit in "
        "memory; newton: lm with second derivatives; scipy, ceres: of these packages, slow, for cross-checking",
    )
    lm = option(
        1e-5, type=kinds.real(0), help="damping of the first Levenberg-Marquardt step, relative to the normal matrix"
    )

    start = option(
        "auto",
        choices=("auto", "own", "previous"),
        help="where a solution interval starts. own: where its Parms do, and nowhere else; previous: from the solution of the interval "
        "before, where that fits better, one after another: for delays, positions and other parameters with many minima that drift; "
        "auto: as own, and where such an equation does not converge, or its minimum may not be the lowest, from the solution before, "
        "and from others unless `start` solutions were given to the run",
    )
    backend = option(
        "numba",
        choices=("numba", "jax", "gpu"),
        help="who makes sums over the data and normal equations; jax: on the device that JAX chooses, the reference of the "
        "kernels; gpu: the same on a GPU, refused where there is none (docs/gpu.md). These fit Parms of different intervals in "
        "turn, unless algorithm is gn-cg",
    )
    robust = option(None, choices=(None, "student-t", "clip"), help="how outliers are weighted down")
    dof = option(
        4.0, type=kinds.real(above=0), help="of Student's t; 4 costs 4 % of precision where there are no outliers"
    )
    clip = option(
        5.0,
        type=kinds.real(above=0),
        help="standard deviations (of real or imaginary part) beyond which data are clipped",
    )
    min_snr = option(
        3.0,
        type=kinds.real(0),
        help="gains below this many standard errors are no solution, nor phases known as badly (0.24 rad for 3); 0 takes all",
    )

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "solvable": kinds.names_of(options["solvable"])}
