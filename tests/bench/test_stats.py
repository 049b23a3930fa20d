"""The few sums that the benchmark rests on."""

from __future__ import annotations

import math

import pytest

from bench.stats import growth, median, n_log_n_growth, percentile


def test_median_lies_between_the_two_in_the_middle() -> None:
    assert median([4, 1, 3, 2]) == 2.5
    assert median([3, 1, 2]) == 2


def test_percentiles_reach_from_the_least_to_the_most() -> None:
    values = list(range(101))
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [0, 50, 99, 100]
    assert percentile([10], 99) == 10


def test_no_values_have_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        median([])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_growth_finds_the_exponent(exponent: float) -> None:
    sizes = [1_000, 10_000, 100_000]
    assert growth(sizes, [7 * size**exponent for size in sizes]) == pytest.approx(exponent)


def test_n_log_n_grows_a_little_more_than_linearly() -> None:
    sizes = [1_000, 10_000, 100_000]
    slope = math.log((100_000 * math.log(100_000)) / (1_000 * math.log(1_000))) / math.log(100)
    assert n_log_n_growth(sizes) == pytest.approx(slope, abs=0.01)
