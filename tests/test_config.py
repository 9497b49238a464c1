from __future__ import annotations

from pathlib import Path

import pytest

from duplex_local.config import EngineConfig, SamplingConfig, SessionConfig, with_changes
from duplex_local.errors import ConfigError, DuplexError, exit_with_one_line


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SamplingConfig(temperature=-1), "temperature is -1, but must be from 0 to 5"),
        (lambda: SamplingConfig(temperature=float("nan")), "temperature is nan"),
        (lambda: SamplingConfig(top_p="high"), "top_p must be a number"),  # type: ignore[arg-type]
        (lambda: SamplingConfig(seed=1.5), "seed must be a whole number"),  # type: ignore[arg-type]
        (lambda: SessionConfig(slice_s=None), "must be a number from 0.2 to 30, not empty"),  # type: ignore[arg-type]
        (lambda: EngineConfig(Path("x"), n_ctx=2**40), "from 256 to 1048576"),
        (lambda: SessionConfig(slice_s=0), "slice_s is 0, but must be from 0.2 to 30"),
        (lambda: SessionConfig(max_tokens_per_slice=True), "must be a whole number"),
        (lambda: EngineConfig(Path("x"), n_sessions=0), "n_sessions is 0"),
        (lambda: SessionConfig(sampling=5), "sampling must be a SamplingConfig"),  # type: ignore[arg-type]
        (lambda: SessionConfig(mode="live"), "mode must be a Mode"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_value_names_setting_value_and_range(make: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()  # type: ignore[operator]


def test_changes_reach_nested_settings() -> None:
    config = with_changes(SessionConfig(), {"slice_s": 1.0, "sampling": {"seed": 3}})
    assert (config.slice_s, config.sampling.seed, config.sampling.top_p) == (1.0, 3, 0.8)


def test_an_unknown_setting_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'slice'.*slice_s"):
        with_changes(SessionConfig(), {"slice": 1.0})


def test_a_users_error_is_one_line_and_ours_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @exit_with_one_line
    def failing(error: Exception) -> int:
        raise error

    assert failing(ConfigError("slice_s\nis 0.")) == 1
    assert capsys.readouterr().err == "error: slice_s is 0.\n"
    assert failing(ConfigError("\x1b[2J" + "x" * 5000)) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ?[2Jxxx") and len(shown) < 1100
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())
    monkeypatch.setenv("DUPLEX_RAISE_ERRORS", "1")
    with pytest.raises(DuplexError):
        failing(ConfigError("x"))
