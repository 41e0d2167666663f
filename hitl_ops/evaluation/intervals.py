"""How sure a figure is: bootstrap intervals and paired comparisons of two policies on the same episodes.

All resampling is by cluster: each episode is its own cluster, or all episodes of one home are, because episodes
of one home succeed and fail together. With the same seed two calls on equally many clusters draw the same
resamples, which keeps comparisons exactly symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field

_CELLS_AT_ONCE = 4_000_000


class Interval(BaseModel):
    """A mean with its bootstrap percentile interval."""

    mean: float
    low: float
    high: float
    n: int = Field(description="episodes it was taken over")
    clusters: int = Field(description="independent units that were resampled")


class PairedDifference(BaseModel):
    """Policy minus reference, on the same episodes."""

    difference: float = Field(description="mean of the differences")
    low: float
    high: float
    p_value: float = Field(description="two-sided: how often chance alone gives a difference as large")
    n: int


class McNemar(BaseModel):
    """Two policies' successes on the same episodes, counted crosswise."""

    both: int
    only_policy: int
    only_reference: int
    neither: int
    p_value: float = Field(description="exact two-sided binomial test on the episodes they disagree about")


class Ratio(BaseModel):
    """Mean of the policy over mean of the reference; None where the reference's is zero."""

    value: float | None
    low: float | None
    high: float | None


def bootstrap_interval(
    values: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of ``values`` with a percentile interval.

    Args:
        values: one figure an episode, shape ``(n,)``, n ≥ 1.
        clusters: the cluster of each episode; each episode on its own by default.
        resamples: how often to resample.
        level: the interval's level.
        seed: of the resampling.

    Raises:
        ValueError: there are no values, or as many clusters as values were not given.
    """
    figures = _figures(values)
    sums, sizes = _by_cluster(figures, clusters)
    means = _resampled_means(sums, sizes, resamples, seed)
    low, high = _percentiles(means, level)
    mean = float(figures.mean())
    # Rounding alone may put the percentiles of equal figures beside their mean.
    return Interval(mean=mean, low=min(low, mean), high=max(high, mean), n=figures.size, clusters=len(sizes))


def paired_difference(
    policy: ArrayLike,
    reference: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """The mean difference of two policies on the same episodes, with interval and p-value.

    The p-value counts the resamples of the centred differences (what chance gives when there is no difference) that
    lie at least as far from zero as the difference seen, the seen one included.

    Args:
        policy: one figure an episode, shape ``(n,)``, n ≥ 1.
        reference: the other policy's figure on the same episodes, in the same order.
        clusters: the cluster of each episode; each episode on its own by default.
        resamples: how often to resample.
        level: the interval's level.
        seed: of the resampling.

    Raises:
        ValueError: the lengths differ or are zero.
    """
    a, b = _figures(policy), _figures(reference)
    if a.shape != b.shape:
        raise ValueError(f"paired figures must be of one length, got {a.size} and {b.size}")
    differences = a - b
    sums, sizes = _by_cluster(differences, clusters)
    seen = float(differences.mean())
    means = _resampled_means(sums, sizes, resamples, seed)
    low, high = _percentiles(means, level)
    # The tolerance keeps ties, which success rates are full of, from being decided by rounding.
    extreme = int(np.count_nonzero(np.abs(means - seen) >= abs(seen) - 1e-12))
    return PairedDifference(
        difference=seen,
        low=min(low, seen),
        high=max(high, seen),
        p_value=(1 + extreme) / (1 + resamples),
        n=differences.size,
    )


def share_at_least(
    policy: ArrayLike,
    reference: ArrayLike,
    least: float,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """The share of the resamples in which the mean difference of two policies is at least ``least``.

    The resamples are those of :func:`paired_difference` with the same seed.

    Args:
        policy: one figure an episode, shape ``(n,)``, n ≥ 1.
        reference: the other policy's figure on the same episodes, in the same order.
        least: the difference to reach.
        clusters: the cluster of each episode; each episode on its own by default.
        resamples: how often to resample.
        seed: of the resampling.

    Raises:
        ValueError: the lengths differ or are zero.
    """
    a, b = _figures(policy), _figures(reference)
    if a.shape != b.shape:
        raise ValueError(f"paired figures must be of one length, got {a.size} and {b.size}")
    means = _resampled_means(*_by_cluster(a - b, clusters), resamples, seed)
    return float(np.mean(means >= least - 1e-12))


def paired_ratio(
    policy: ArrayLike,
    reference: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Ratio:
    """Mean of the policy over mean of the reference on the same episodes, with its interval.

    Resamples in which the reference's mean is zero say nothing about the ratio and are left out.

    Raises:
        ValueError: the lengths differ or are zero.
    """
    a, b = _figures(policy), _figures(reference)
    if a.shape != b.shape:
        raise ValueError(f"paired figures must be of one length, got {a.size} and {b.size}")
    if b.sum() == 0:
        return Ratio(value=None, low=None, high=None)
    rows = [_by_cluster(a, clusters)[0], _by_cluster(b, clusters)[0]]
    ratios = [above[below != 0] / below[below != 0] for above, below in _resampled(rows, resamples, seed)]
    low, high = _percentiles(np.concatenate(ratios), level)
    value = float(a.sum() / b.sum())
    return Ratio(value=value, low=min(low, value), high=max(high, value))


def mcnemar(policy: Sequence[bool], reference: Sequence[bool]) -> McNemar:
    """Count two policies' successes crosswise and test whether one wins more of the episodes they disagree about.

    Raises:
        ValueError: the lengths differ.
    """
    pairs = list(zip(policy, reference, strict=True))
    only_policy, only_reference = pairs.count((True, False)), pairs.count((False, True))
    n, k = only_policy + only_reference, min(only_policy, only_reference)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return McNemar(
        both=pairs.count((True, True)),
        only_policy=only_policy,
        only_reference=only_reference,
        neither=pairs.count((False, False)),
        p_value=min(1.0, 2 * tail),
    )


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a success rate.

    The bootstrap of ``n`` equal outcomes has no width; this one still tells how little ``n`` episodes prove.

    Raises:
        ValueError: ``n`` is zero, or ``successes`` does not lie between 0 and ``n``.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"{successes} of {n} is no success rate")
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + level / 2)
    rate, spread = successes / n, z * z / n
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / n + spread / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _figures(values: ArrayLike) -> NDArray[np.float64]:
    figures = np.asarray(values, dtype=np.float64)
    if figures.ndim != 1 or figures.size == 0:
        raise ValueError(f"expected a row of at least one figure, got shape {figures.shape}")
    return figures


def _by_cluster(
    figures: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of each cluster, in the order of first appearance."""
    if clusters is None:
        return figures, np.ones_like(figures)
    if len(clusters) != figures.size:
        raise ValueError(f"{figures.size} figures but {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    index = np.asarray([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    sums, sizes = np.bincount(index, weights=figures), np.bincount(index)
    return sums.astype(np.float64), sizes.astype(np.float64)


def _resampled(rows: Sequence[NDArray[np.float64]], resamples: int, seed: int) -> Iterator[list[NDArray[np.float64]]]:
    """Draw clusters with replacement and yield the sum of each row per resample, block by block."""
    rng = np.random.default_rng(seed)
    clusters = len(rows[0])
    at_once = max(1, _CELLS_AT_ONCE // clusters)
    for start in range(0, resamples, at_once):
        drawn = rng.integers(clusters, size=(min(at_once, resamples - start), clusters), dtype=np.uint32)
        yield [row[drawn].sum(axis=1) for row in rows]


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    return np.concatenate([total / size for total, size in _resampled([sums, sizes], resamples, seed)])


def _percentiles(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
