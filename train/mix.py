"""Mix the weights from before some runs with those after them: `python -m train.mix BEFORE AFTER`.

A run that goes on from a checkpoint learns what is new and loses some of what was robust. The
straight line between the two sets of weights often beats both ends (WiSE-FT: Wortsman et al.
2022, arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from duplex_local.errors import ConfigError, exit_with_one_line

__all__ = ["main", "mix"]


def mix(before: Path, after: Path, share: float, out: Path) -> None:
    """Write a checkpoint of `share` of the weights of `after`, and the rest of those of `before`.

    Raises:
        ConfigError: when `after` did not begin with `before`.
    """
    from train.export import read_checkpoint, read_runs, write_checkpoint

    first, then = read_checkpoint(before), read_checkpoint(after)
    old_runs, runs = read_runs(before), read_runs(after)
    if first.config != then.config or not old_runs or runs[: len(old_runs)] != old_runs:
        raise ConfigError(f"{after} was not trained from {before} on, so they cannot be mixed.")
    weights = first.state_dict()
    then.load_state_dict(
        {name: weights[name].lerp(value, share) for name, value in then.state_dict().items()}
    )
    told = {"share": share, "mixed_with_run": len(old_runs), "half": runs[-1]["half"]}
    write_checkpoint(then, after, out, [*runs, told])


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


@exit_with_one_line
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.mix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", type=Path, metavar="BEFORE", help="checkpoint it began with")
    parser.add_argument("after", type=Path, metavar="AFTER", help="checkpoint of the later runs")
    parser.add_argument("--share", type=_share, default=0.75, help="of AFTER's weights (0.75)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    options = parser.parse_args(arguments)
    mix(options.before, options.after, options.share, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
