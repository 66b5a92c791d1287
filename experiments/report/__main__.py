"""A report: every committed table and figure, and the history of attention, as one HTML file.

python -m experiments.report                                  report.html
python -m experiments.report --verify --data_dir=DIR          scores computed again; red where not
python -m experiments.report --diff=OLD                       cells that moved since a report
python -m experiments.report --page=history                   the part for new readers alone
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from attn_research.data.files import shorten, write_whole
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.paper import RESULTS
from experiments.harness.path_flags import define_path
from experiments.papers import find
from experiments.report.checking import verify_folders
from experiments.report.collect import read_folders
from experiments.report.comparing import Move, compare, read_all_tables, read_older
from experiments.report.history import read_history
from experiments.report.page import Report, make_page
from experiments.report.results import value_text


def _main(argv: Sequence[str]) -> None:
    with one_line_errors(argv):
        values = flags.FLAGS
        root, output = Path(values.results_dir), Path(values.output)
        complete = values.page == "report"
        if not complete and (values.verify or values.diff):
            raise ValueError("--verify and --diff have no effect with --page=history: remove them")
        if not output.parent.is_dir() or output.is_dir():
            raise ValueError(f"--output={output}: name a file in a folder that is there")
        older = read_older(Path(values.diff)) if values.diff else None
        folders = read_folders(root, find)
        verified = verify_folders(folders, find, values.data_dir) if values.verify else None
        difference = compare(older, read_all_tables(root)) if older is not None else None
        report = Report(
            root, read_history(), folders, verified, difference, Path(values.diff).name, complete
        )
        page = make_page(report).encode()
        write_whole(output, page)
        print(f"{output}: {len(page) / 1e6:.1f} MB")
        for move in report.moves:
            print(f"moved  {_told(move)}")
        if verified is not None:
            for name, text, holds in (check.finding for check in verified.checks.values()):
                if holds is False:
                    print(f"FAILED  {name}: {shorten(text, 300)}")
            counts = [verified.count(holds) for holds in (True, False, None)]
            print("{} results verified, {} differ, {} not verified".format(*counts))
            if verified.failed():
                sys.exit("error: results do not follow from their predictions; they are red")


def _told(move: Move) -> str:
    """A line of a cell that moved."""
    spread = "one seed" if move.spread is None else f"spread {move.spread:.3g}"
    before, now = map(value_text, (move.before, move.now))
    return f"{move.folder}, {move.table}, {move.row}, {move.column}: {before} -> {now} ({spread})"


if __name__ == "__main__":
    define_path("results_dir", str(RESULTS), "Folder of results.")
    define_path("output", "report.html", "HTML file that is written.")
    define_path("data_dir", "", "Folder of data sets, for --verify; ATTN_DATA_DIR if unset.")
    define_path("diff", "", "Older report, or older folder of results.")
    flags.DEFINE_bool("verify", False, "Compute every score again from the kept predictions.")
    flags.DEFINE_enum("page", "report", ["report", "history"], "Everything, or the history alone.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(_main, flags_parser=parse_flags)
