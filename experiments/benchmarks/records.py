"""Speed and memory of encoding text as records: counting, encoding, reading back.

python -m experiments.benchmarks.records --pairs=5000000     the size of WMT'14 English-German

Generated pairs (Zipf-distributed words, 25 a side on average) pass through `WordTokenizer.build`
and `write_records`, and are read back in random order. Moses tokenization is timed on fewer pairs.
The result is printed as one JSON line; rates are pairs per second and include generating the text.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from attn_research.data.records import Records, write_records
from attn_research.data.text.corpus import Pair
from attn_research.data.text.tokenizers import WordTokenizer
from experiments.harness.path_flags import expand

PACKAGES = ("array_record", "numpy", "sacremoses")
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def generate(words: np.ndarray, num_pairs: int, *, mean: int = 25, end: str = "") -> Iterator[Pair]:
    """Yields pairs of independent sentences; the r-th word has odds 1 / r."""
    odds = np.cumsum(1 / np.arange(1, len(words) + 1))
    rng = np.random.default_rng(0)
    for start in range(0, num_pairs, 10_000):
        num_sides = 2 * min(10_000, num_pairs - start)
        ends = np.cumsum(1 + rng.poisson(mean - 1, num_sides))
        drawn = words[np.searchsorted(odds, rng.random(ends[-1]) * odds[-1])]
        sides = [" ".join(side) + end for side in np.split(drawn, ends[:-1])]
        yield from map(Pair, sides[::2], sides[1::2])


def spell(rank: int) -> str:
    """The word of a rank; frequent words are short, and no two are equal."""
    rank, last = divmod(rank, len(LETTERS))
    return (spell(rank - 1) if rank else "") + LETTERS[last]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=100_000, help="Pairs to count and encode.")
    parser.add_argument(
        "--moses_pairs", type=int, default=10_000, help="Pairs to tokenize by Moses and encode."
    )
    parser.add_argument("--words", type=int, default=500_000, help="Words of the language.")
    parser.add_argument("--shortlist", type=int, default=30_000, help="Words that have an id.")
    parser.add_argument("--workers", type=int, default=0, help="Number of encoding processes.")
    parser.add_argument("--reads", type=int, default=100_000, help="Pairs to read back.")
    parser.add_argument(
        "--folder", type=expand, help="Folder for the records, which are removed at the end."
    )
    arguments = parser.parse_args()

    words = np.array([spell(rank) for rank in range(arguments.words)], object)
    rates = {}

    @contextlib.contextmanager
    def stage(name: str, num_pairs: int, **options) -> Generator[Iterable[Pair]]:
        """Yields generated pairs under a progress bar, and measures the rate of the block."""
        start = time.perf_counter()
        yield tqdm(generate(words, num_pairs, **options), name, num_pairs, mininterval=5)
        rates[name] = round(num_pairs / (time.perf_counter() - start))

    with stage("generate", arguments.pairs) as pairs:
        for _ in pairs:
            pass
    with stage("count", arguments.pairs) as pairs:
        lines = (line for pair in pairs for line in pair[:2])
        tokenizer = WordTokenizer.build(lines, size=arguments.shortlist)
    moses = WordTokenizer(tokenizer.shortlist, moses=True)
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        options = {"languages": ("xx", "yy"), "num_workers": arguments.workers}
        with stage("write", arguments.pairs) as pairs:
            write_records(pairs, tokenizer, tokenizer, root / "plain", **options)
        with stage("moses", arguments.moses_pairs, end=", it's so.") as pairs:
            write_records(pairs, moses, moses, root / "moses", **options)
        records = Records(root / "plain")
        start = time.perf_counter()
        for index in np.random.default_rng(0).integers(len(records), size=arguments.reads):
            records[index]
        rates["read"] = round(arguments.reads / (time.perf_counter() - start))
        num_bytes = sum(path.stat().st_size for path in (root / "plain").iterdir())
    finally:
        shutil.rmtree(root)

    kibibytes = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    result = {
        "command": " ".join(["python -m experiments.benchmarks.records", *sys.argv[1:]]),
        "pairs": len(records),
        "shards": len(records.metadata.shards),
        "bytes": num_bytes,
        "pairs_per_second": rates,
        # This process, and its largest worker.
        "peak_rss_mib": [round(size / 1024) for size in kibibytes],
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "cores": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
