"""How far a screening engine's logits may lie from the law's, and what that lets it decide.

Let u be the unit roundoff of the screen (2^-24 for float32), gamma_m = m u / (1 - m u), and g the
same for the law's float64. A linear layer computes y = W h + b for the engine from inputs h, which
differ from the law's inputs H by at most e in each element. Write

    rho   the largest, over the layer's units, of sum |w| + |b|, of the weights the engine uses
    hmax  the largest |h| (at least 1 where a bias is drawn)
    eps   a bound of |w_engine - w| / |w| (0 where the engine uses the canonical weights)
    n     weights a unit has
    m     roundings a term of the sum passes through at most; n + 1 for n products added in any
          order and a bias (Higham, "Accuracy and Stability of Numerical Algorithms", section 4.2)

With eps' = eps / (1 - eps), so that |w - w_engine| <= eps' |w_engine|:

    engine's own rounding       gamma_m rho hmax
    weights that differ         eps' rho hmax
    inputs that differ          (1 + eps') rho e
    the law's rounding          g (1 + eps') rho (hmax + e)

and the outputs differ by at most e' = rho (gain e + inject hmax), with gain = (1 + eps')(1 + g) and
inject = gamma_m + eps' + (1 + eps') g. Rectifiers, maxima and reshaping leave e as it is, being
1-Lipschitz in the maximum norm. The first layer's inputs are the law's own: e = 0.

Tighter, at the price of a second product: a bound for each element, e'_j = gain sum_k |w_jk| e_k +
inject sum_k |w_jk h_k| + tiny (|b_j| joins the second sum), and e'_j = 0 behind a rectifier where
y_j <= -e'_j. The constants are the same; hardware must not flush operands to zero.

What else is accounted for, in `layer_constants`:

- rho is itself a sum computed in the screen's precision: too small by at most 1 + gamma_(n+1).
- e' is computed in at most 8 rounded operations: a factor 1 + 16 u covers them (in float64, and
  therefore also in the screen's precision).
- Underflow, even where the hardware flushes results and operands to zero: a product or partial sum
  loses at most the smallest normal number, 2n + 2 of them `tiny`; a flushed operand is small beside
  `floor_rho`, `floor_hmax`, to which rho and hmax are raised, and two more roundings in m pay for
  it.
- Overflow: while rho hmax is below `limit`, no partial sum in any order overflows. Otherwise
  (including rho or hmax not finite) nothing is certain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
SMALLEST_NORMAL = {"float32": 2.0**-126, "float64": 2.0**-1022}
LIMIT = {"float32": 1e37, "float64": 1e300}
LAW_ROUNDOFF = 2.0**-53
DECISION_SLACK = 1.0 + 2.0**-20  # roundings of the logits' difference and of the product with e
NORMAL_EPS = 2.0**-22  # a normal prior's weights, computed with fused operations: the next float32


@dataclass(frozen=True)
class LayerConstants:
    """What turns a bound of a linear layer's inputs into one of its outputs.

    With `rho = max(rho, floor_rho)` and `hmax = max(hmax, floor_hmax)`, if `rho * hmax < limit`:
    `e' = rho * (gain * e + inject * hmax) + tiny`, in float64 or the screen's own precision.
    """

    gain: float
    inject: float
    tiny: float
    floor_rho: float
    floor_hmax: float
    limit: float


def gamma(m: int, unit_roundoff: float) -> float:
    """m u / (1 - m u): the relative error of m roundings in a row; infinite if unbounded."""
    product = m * unit_roundoff
    return product / (1.0 - product) if product < 1.0 else float("inf")


def layer_constants(
    n_terms: int, depth: int | None = None, eps_w: float = 0.0, dtype: str = "float32"
) -> LayerConstants:
    """The constants of a layer whose units have `n_terms` weights. See the head of this file.

    Args:
        n_terms: weights a unit has (its bias not counted).
        depth: roundings a term passes through at most: its product, the additions on its way, and
            the bias's. None for an unknown order: n_terms + 1.
        eps_w: relative difference between the engine's weights and the canonical ones.
        dtype: "float32" or "float64", the precision the engine computes in.

    Returns:
        Constants, rounded upwards. They are infinite where float32 cannot add so many terms with
        any bound; then nothing is certain.
    """
    u = UNIT_ROUNDOFF[dtype]
    roundings = n_terms + 1 if depth is None else depth
    law = gamma(n_terms + 2, LAW_ROUNDOFF)
    eps = eps_w / (1.0 - eps_w)
    # Of rho as computed, of the evaluation of e', and of these few lines in float64.
    inflation = (1.0 + gamma(n_terms + 2, u)) * (1.0 + 16.0 * u) * (1.0 + 2.0**-40)
    smallest = SMALLEST_NORMAL[dtype]
    return LayerConstants(
        gain=inflation * (1.0 + eps) * (1.0 + law),
        inject=inflation * (gamma(roundings + 2, u) + eps + (1.0 + eps) * law),
        tiny=(2 * n_terms + 8) * smallest * inflation * (1.0 + gamma(roundings, u)),
        floor_rho=(n_terms + 1) * smallest * 2.0**26 if dtype == "float32" else 1e-290,
        floor_hmax=smallest * 2.0**26 if dtype == "float32" else 1e-290,
        limit=LIMIT[dtype],
    )


def exact_sum_constants(n_terms: int, eps_w: float = 0.0) -> LayerConstants:
    """The constants of a layer whose sums are exact: the engine's products and sums round nothing.

    The bounds themselves are computed in float32.

    Args:
        n_terms: weights a unit has (its bias not counted).
        eps_w: a bound of |w_engine - w| / |w_engine|.

    Returns:
        Constants, rounded upwards: gain = (1 + eps)(1 + g), inject = eps + (1 + eps) g.
    """
    usual = layer_constants(n_terms)
    u = UNIT_ROUNDOFF["float32"]
    law = gamma(n_terms + 2, LAW_ROUNDOFF)
    inflation = (1.0 + gamma(n_terms + 2, u)) * (1.0 + 16.0 * u) * (1.0 + 2.0**-40)
    return replace(
        usual,
        gain=inflation * (1.0 + eps_w) * (1.0 + law),
        inject=inflation * (eps_w + (1.0 + eps_w) * law),
    )


def threshold(error: float, n_outputs: int) -> float:
    """How far apart two logits (or, for one logit, it and zero) must be for their order to be sure.

    Certain means strictly more than this: two errors of opposite sign cannot turn it round.
    """
    return error * DECISION_SLACK * (1.0 if n_outputs == 1 else 2.0)
