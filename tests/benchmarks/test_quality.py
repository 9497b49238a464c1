"""Quality against BF16, on the tiny checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import compare, dialogues, main, measure
from tests.convert.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("quality") / "tiny")


def test_fewer_bits_are_further_away(checkpoint: Path) -> None:
    good, bad = measure(checkpoint, ["Q8_0", "Q4_0"], n_dialogues=1)
    assert 0 < good.kl < bad.kl <= bad.kl_99 and good.size_bytes < bad.size_bytes * 2
    assert good.n_choices == bad.n_choices > 10 and 0 <= good.differs <= 1


def test_dialogues_are_the_same_each_time_and_leave_room_for_a_next_token(checkpoint: Path) -> None:
    one, other = (list(dialogues(checkpoint, 2)) for _ in range(2))
    assert one == other
    assert all(0 < len(d.ids) <= 512 and max(d.chosen) < len(d.ids) - 1 for d in one)


def test_comparing_by_hand() -> None:
    even, sure = np.zeros((1, 2)), np.array([[0.0, np.log(3)]])
    kl, differs, change = compare(even, sure, idle=1)
    assert kl == pytest.approx([0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)])
    assert differs.tolist() == [True] and change == pytest.approx([0.25])
    assert compare(sure, sure + 7, idle=0)[0] == pytest.approx([0])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(["nowhere"], 1), (["models/demo", "--quant", "Q9"], 2), (["x", "--dialogues", "0"], 2)],
)
def test_wrong_use(wrong: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    if code == 2:
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2
    else:
        assert main(wrong) == 1
        assert "There is no folder nowhere" in capsys.readouterr().err
