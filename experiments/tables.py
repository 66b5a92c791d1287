"""Tables of every folder of results, rendered anew or verified.

python -m experiments.tables                          tables and figures from the results
python -m experiments.tables --verify --data_dir=DIR  every cell from its predictions, or fail
"""

import itertools
import logging
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from absl import app, flags

from experiments.conformance import tables as conformance
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.paper import RESULTS
from experiments.harness.path_flags import define_path
from experiments.harness.verify import render, result_folders, verify_all
from experiments.papers import find


def _main(argv: Sequence[str]) -> None:
    with one_line_errors(argv):
        _run()


def _run() -> None:
    if flags.FLAGS.data_dir and not flags.FLAGS.verify:
        raise ValueError("--data_dir has no effect without --verify: give both, or neither")
    root = Path(flags.FLAGS.results_dir)
    folders = result_folders(root)
    if not folders:
        hint = "the installed package leaves the committed ones out: " if root == RESULTS else ""
        raise ValueError(f"no results in {root}: {hint}name another --results_dir")
    if not flags.FLAGS.verify:
        for folder in folders:
            render(folder, find)
            print(f"{folder}: tables and figures written")
        return
    failed = 0
    matrices = map(conformance.verify, sorted(root.rglob("conformance.json")))
    papers = verify_all(folders, find, flags.FLAGS.data_dir)
    try:
        for name, finding, holds in itertools.chain(matrices, papers):
            word = {True: "verified", False: "FAILED", None: "not verified"}[holds]
            print(f"{word:>12}  {name}: {finding}", flush=True)
            failed += holds is False
    except BrokenProcessPool:
        sys.exit("error: a process of the verification was killed: is there memory enough?")
    if failed:
        sys.exit(f"error: {failed} of the results do not follow from their predictions")


if __name__ == "__main__":
    logging.getLogger("absl").setLevel(logging.WARNING)
    flags.DEFINE_bool("verify", False, "Compute every number again from the kept predictions.")
    define_path("results_dir", str(RESULTS), "Folder of results.")
    define_path("data_dir", "", "Folder of data sets; ATTN_DATA_DIR if unset.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(_main, flags_parser=parse_flags)
