"""What is right and what is wrong in logits, on made-up ones."""

from __future__ import annotations

from collections.abc import Callable

import gguf
import numpy as np
import pytest

from convert.checks import Check
from convert.logit_checks import LogitLimits, check_logits, limits_for, softened
from convert.tensor import Array

IDLE, DECISIONS = 7, [3, 9, 20]
RNG = np.random.default_rng(0)
EXPECTED: Array = RNG.normal(0, 2, (48, 1000)).astype(np.float32)
EXPECTED[3, IDLE] = 20  # the model is sure to idle
T = gguf.GGMLQuantizationType
EXACT = limits_for({T.F32}, {"BF16"}, False)
BF16 = limits_for({T.F32, T.BF16}, {"BF16"}, False)
Q8_0 = limits_for({T.F32, T.Q8_0}, {"BF16"}, False)
Q4_K = limits_for({T.F32, T.Q4_K, T.Q6_K}, {"BF16"}, False)


def failed(found: Array, limits: LogitLimits) -> list[str]:
    checks = check_logits(found.astype(np.float32), EXPECTED, DECISIONS, IDLE, limits)
    return [check.name for check in checks if not check.ok]


def noise(error: float) -> Array:
    return EXPECTED + np.random.default_rng(1).normal(0, error * 2, EXPECTED.shape)


def biased(position: int, by: float) -> Array:
    found = EXPECTED.copy()
    found[position, IDLE] += by
    return found


@pytest.mark.parametrize(
    ("limits", "error"), [(EXACT, 1e-5), (BF16, 0.005), (Q8_0, 0.026), (Q4_K, 0.19)]
)
def test_what_was_measured_passes(limits: LogitLimits, error: float) -> None:
    assert failed(noise(error), limits) == []
    assert failed(noise(error) + 5, limits) == []  # one constant for all changes no probability


@pytest.mark.parametrize("limits", [EXACT, BF16, Q8_0, Q4_K])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * 81,
        lambda x: x / 81,
        lambda x: x * 1.5,
        lambda x: -x,
        lambda x: np.roll(x, 1, axis=1),
        lambda x: np.roll(x, 1, axis=0),
        np.zeros_like,
        lambda x: x * 1e30,
        lambda x: np.where(x == x.max(), np.nan, x),
    ],
)
def test_broken_logits_fail(limits: LogitLimits, change: Callable[[Array], Array]) -> None:
    assert "logits" in failed(change(EXPECTED), limits)


def test_one_wrong_choice_fails() -> None:
    assert "idle or speak" in failed(biased(3, -40), Q4_K)
    assert "idle or speak" in failed(biased(9, 40), Q8_0)
    assert failed(biased(10, 1), Q8_0) == []


def test_what_no_position_decides_is_not_called_good() -> None:
    flat = EXPECTED / EXPECTED.std()
    flat[:, :2] = flat.max() + 1  # two tokens are equally probable everywhere
    flat[:, IDLE] = flat[:, 0]
    for check in check_logits(flat, flat, DECISIONS, IDLE, BF16)[1:]:
        assert check.ok and "not decided" in check.figure and "0/0" not in check.figure


def test_a_single_logit_is_measured_by_its_token() -> None:
    """A row of the output matrix 100 times as large has errors 100 times as large."""
    expected = EXPECTED.copy()
    expected[:, 5] *= 100
    found = expected + np.random.default_rng(1).normal(0, 0.005 * 2, EXPECTED.shape)
    found[:, 5] += 100 * 0.005 * 2 * np.random.default_rng(2).normal(0, 1, 48)
    checks = check_logits(found.astype(np.float32), expected, DECISIONS, IDLE, BF16)
    assert all(check.ok for check in checks)


def test_limits_are_those_of_the_types() -> None:
    assert Q4_K.error == pytest.approx(0.04 + 4 * 0.0736)
    assert Q8_0.error == pytest.approx(0.04 + 4 * 0.0056)
    assert limits_for({T.BF16, T.F32}, {"BF16"}, True).worst is None


def test_a_damaged_checkpoint_is_not_the_files_fault() -> None:
    wrong = np.full_like(EXPECTED, np.inf)
    (check,) = check_logits(EXPECTED, wrong, DECISIONS, IDLE, BF16)
    assert "the checkpoint's own logits are not finite" in check.why


def test_unusual_logits_of_good_matrices_are_noted_and_gross_ones_refused() -> None:
    def rows(error: float) -> list[Check]:
        return [Check("logits", "off", "too far", {"error": error}), Check("top-1", "3/4", "one")]

    noted = softened(rows(0.3))
    assert all(check.ok and check.figure.endswith("unusual") for check in noted)
    assert noted[0].values["unusual"] == "too far"
    assert not any(check.ok for check in softened(rows(0.4)))
    other = [*rows(0.3), Check("special ids", "-", "wrong")]
    assert not softened(other)[-1].ok
    assert not softened([Check("llama.cpp", "-", "it failed")])[0].ok
