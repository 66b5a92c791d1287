"""Mutated files given to every reader: each is read, or refused in one line that names it.

python -m experiments.robustness.fuzz --files=10000
python -m experiments.robustness.fuzz --reader=image,text --files=1000 --seed=1

Small valid files are mutated (bits flipped, parts cut, repeated, exchanged, sizes changed, a few
left out) and read in a process of their own. A reader fails where it raises another error than a
ValueError or an OSError of one line that names the file, takes more than --seconds or more memory
than it may, ends its process, or reads damage as if it were sound. A table counts files by reader;
for each failure the mutation is printed with the command that makes it again, and the exit status
is 1. Checkpoints have times and random names in them, so that they are not made again exactly:
--keep copies them.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tqdm import tqdm

from attn_research.data.files import user_path
from experiments.robustness.readers import MIB, READERS
from experiments.robustness.worker import Outcome, run

MOST_FAILURES = 20  # of a reader, which then stops


class Summary(NamedTuple):
    """What became of the files that one reader was given."""

    reader: str
    kinds: Counter[str]
    slowest: float
    memory: int
    failures: list[Outcome]

    def __str__(self) -> str:
        refused = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.kinds.items()) if kind)
        return (
            f"{self.reader:<11}{self.kinds.total():>8,} files  {self.kinds['']:>7,} read  "
            f"{self.kinds.total() - self.kinds[''] - len(self.failures):>7,} refused  "
            f"{len(self.failures):>3} failed  {self.slowest:>5.2f} s at most  "
            f"{self.memory // MIB:>5} MiB at most  ({refused or 'none refused'})"
        )


def summarize(reader: str, outcomes: Iterable[Outcome]) -> Summary:
    """The counts of a reader's outcomes; stops after MOST_FAILURES."""
    found = Summary(reader, Counter(), 0.0, 0, [])
    for outcome in outcomes:
        found.kinds[outcome.kind] += 1
        found = found._replace(
            slowest=max(found.slowest, outcome.seconds), memory=max(found.memory, outcome.memory)
        )
        if outcome.failure:
            found.failures.append(outcome)
            if len(found.failures) == MOST_FAILURES:
                break
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    values = _parse(arguments)
    last = values.first + values.files - 1
    print(f"seed {values.seed}, files {values.first} to {last} of each reader", flush=True)
    failed = False
    numbers = range(values.first, values.first + values.files)
    for reader in values.reader.split(","):
        keep = user_path(values.keep) / reader if values.keep else None
        outcomes = run(READERS[reader], values.seed, numbers, values.seconds, keep)
        bar = tqdm(outcomes, reader, len(numbers), disable=None)  # on a terminal alone
        summary = summarize(reader, bar)
        print(summary, flush=True)
        for outcome in summary.failures:
            failed = True
            print(
                f"FAILED {reader} {outcome.number}: {outcome.failure}\n  {outcome.about}\n"
                f"  python -m experiments.robustness.fuzz --reader={reader} --seed={values.seed} "
                f"--first={outcome.number} --files=1",
                flush=True,
            )
    return int(failed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.robustness.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--reader", default=",".join(READERS), help="Readers, with commas.")
    parser.add_argument("--files", type=int, default=1000, help="Files for each reader.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the mutations.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first file.")
    parser.add_argument("--seconds", type=float, default=30.0, help="Time that a file may take.")
    parser.add_argument("--keep", default="", help="Folder for copies of what failed.")
    values = parser.parse_args(arguments)
    if unknown := [name for name in values.reader.split(",") if name not in READERS]:
        parser.error(f"--reader={unknown[0]}: there are {', '.join(READERS)}")
    if values.files < 1 or values.first < 0:
        parser.error("--files is 1 or more, --first 0 or more")
    return values


if __name__ == "__main__":
    sys.exit(main())
