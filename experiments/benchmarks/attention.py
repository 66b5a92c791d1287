"""Speed and memory of `attend` against jax.nn and PyTorch.

python -m experiments.benchmarks.attention --peer_python=PATH    the interpreter that has PyTorch

Rounds are interleaved; results are medians of seconds and of ratios to this code. Sections
(`--sections`): peak memory at 65,536 queries; the comparison; windows; the cost of capturing
weights; the sizes at which another implementation becomes faster, which set the order in `attend`.
"""

import functools
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

from attn_research.attention import Capture, Causal, Full, Window
from attn_research.data.files import write_whole
from attn_research.training.cores import use_cores
from experiments.benchmarks import comparison
from experiments.benchmarks.idle import exit_if_busy
from experiments.benchmarks.timing import (
    compile_call,
    compile_run,
    in_turn,
    medians,
    ours,
)
from experiments.harness.path_flags import define_path
from experiments.harness.results import command_line, environment

LONG, WINDOW = 4096, 256
PEER = Path(__file__).parent / "peers" / "attention_torch.py"


def compare(shape: tuple[int, ...], peer: subprocess.Popen | None, rounds: int) -> list[dict]:
    """Rows of this code, jax.nn and PyTorch: causal and full, forward and with gradients."""
    batch, length, heads, width = shape
    rows = []
    for gradient in (False, True):
        runs, temporary = {}, {}
        for causal in (False, True):
            of = "causal" if causal else "full"
            nn = functools.partial(jax.nn.dot_product_attention, is_causal=causal)
            for name, attention in (
                ("ours", ours("tiled", mask=Causal() if causal else Full())),
                ("jax.nn", nn),
            ):
                if name == "jax.nn" and causal and length >= LONG:
                    continue  # it skips nothing, and a call takes tens of seconds
                runs[f"{name} {of}"], temporary[f"{name} {of}"] = compile_run(
                    attention, shape, gradient
                )
            if peer is not None:
                case = dict(batch=batch, length=length, heads=heads, width=width)
                case |= {"causal": causal, "gradient": gradient}
                runs[f"torch {of}"] = functools.partial(ask, peer, case)
                ask(peer, case)
        found = medians(in_turn(runs, rounds), "ours full")
        for name, row in found.items():
            system, of = name.split()
            others = zip(row["all_seconds"], found[f"ours {of}"]["all_seconds"], strict=True)
            row = {
                "system": system,
                "mask": of,
                "length": length,
                "gradient": gradient,
                "times_as_long_as_ours": round(statistics.median(a / b for a, b in others), 3),
                "times_as_long_as_ours_full": row["times_as_long"],
                "seconds": row["seconds"],
                "temporary_bytes": temporary.get(name),
                "all_seconds": row["all_seconds"],
            }
            rows.append(row)
            print(
                f"{length:>6} {of:<7}{'forward+backward' if gradient else 'forward':<17}"
                f"{system:<8}{row['seconds']:9.4f} s  {row['times_as_long_as_ours']:6.2f} "
                "times as long as ours",
                flush=True,
            )
    return rows


def ask(peer: subprocess.Popen, case: dict[str, Any]) -> float:
    """Seconds of one call of the peer."""
    peer.stdin.write(json.dumps(case) + "\n")
    peer.stdin.flush()
    return float(peer.stdout.readline())


def windows(
    lengths: Sequence[int], sizes: dict[str, int], peer: subprocess.Popen | None, rounds: int
) -> list[dict]:
    """Rows of a causal window of 256 keys at each length.

    Compared with it are no mask, at the largest length only, and flex_attention, forward only.
    Bytes are the temporary ones of the compiled program.
    """
    rows = []
    for length in lengths:
        shape = sizes["batch"], length, sizes["heads"], sizes["width"]
        for gradient in (False, True):
            attentions = {"window": ours("tiled", mask=Causal() & Window(WINDOW - 1, 0))}
            if length == max(lengths):
                attentions["full"] = ours("tiled")
            runs, temporary = {}, {}
            for name, attention in attentions.items():
                runs[name], temporary[name] = compile_run(attention, shape, gradient)
            if peer is not None and not gradient:
                case = sizes | dict(length=length, window=WINDOW, causal=True, gradient=False)
                runs["flex_attention"] = functools.partial(ask, peer, case)
                ask(peer, case)
            for name, found in medians(in_turn(runs, rounds), "window").items():
                row = {"system": name, "length": length, "gradient": gradient, **found}
                rows.append(row | {"temporary_bytes": temporary.get(name)})
                print(
                    f"{length:>6} {'forward+backward' if gradient else 'forward':<17}{name:<15}"
                    f"{row['seconds']:9.4f} s  {row['times_as_long']:6.2f} times the window",
                    flush=True,
                )
    return rows


def longest(length: int, width: int) -> dict[str, Any]:
    """Seconds and peak memory of causal attention of two heads, forward and backward."""
    run, temporary = compile_run(ours("tiled", mask=Causal()), (1, length, 2, width), True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = dict(length=length, heads=2, seconds=run(), temporary_bytes=temporary)
    print(f"causal {length:,}, forward+backward: {found['seconds']:.1f} s, peak {peak:,} bytes")
    return found | {"peak_process_bytes": peak}


def captures(shape: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """The cost of capturing eight query rows of two heads, forward."""
    rows = tuple(range(0, shape[1], shape[1] // 8))
    runs = {
        "none": compile_run(ours("tiled"), shape, False)[0],
        "some": compile_run(ours("tiled", capture=Capture((0, 3), rows)), shape, False)[0],
    }
    found = medians(in_turn(runs, rounds), "none")
    print(f"capture of {len(rows)} rows of 2 heads: {found['some']['times_as_long']} times as long")
    return found


def crossovers(rounds: int) -> dict[str, list[dict]]:
    """Seconds at each size of the implementations that `attend` chooses from."""
    found: dict[str, list[dict]] = {}

    def measure(title: str, names: Sequence[str], shapes: Sequence[tuple], **options: Any) -> None:
        found[title] = []
        for queries, keys, batch, heads in shapes:
            draws = jax.random.split(jax.random.key(0), 3)
            sizes = (batch, queries, heads, 64), (batch, keys, heads, 64), (batch, keys, heads, 64)
            arrays = [jax.random.normal(k, s) for k, s in zip(draws, sizes, strict=True)]
            row: dict[str, Any] = dict(queries=queries, keys=keys, batch=batch, heads=heads)
            for gradient in (False, True):
                cotangent = jnp.ones((batch, queries, heads, 64)) if gradient else None
                runs = {
                    name: compile_call(ours(name, **options), arrays, cotangent)[0]
                    for name in names
                }
                kind = "forward+backward" if gradient else "forward"
                times = in_turn(runs, 3 * rounds)
                row[kind] = {name: statistics.median(each) for name, each in times.items()}
            found[title].append(row)
            print(title, json.dumps(row), flush=True)

    squares = [(n, n, 4, 8) for n in (16, 32, 64, 128, 256, 512, 1024)]
    decoding = [(1, n, 4, 8) for n in (128, 1024, 8192, 32768)]
    measure("full", ("tiled", "reference"), squares + decoding)
    local = [(1, 512, 4, 8), *((n, 512, 4, 8) for n in (4, 16, 64, 256)), (1024, 1024, 4, 8)]
    measure("window of 21", ("gathered", "tiled"), local, mask=Window(10, 10))
    return found


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    idle = exit_if_busy()
    use_cores()
    peer, versions = None, {}
    if values.peer_python:
        command = [values.peer_python, str(PEER)]
        pipe = subprocess.PIPE
        peer = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        versions = json.loads(peer.stdout.readline())
    heads, width = values.heads, values.width
    sections = values.sections.split(",")
    found: dict[str, Any] = {
        "command": command_line(__spec__.name, sys.argv[1:]),
        "environment": environment() | {"peers": versions, "idle": idle},
    }
    lengths = [int(length) for length in values.lengths.split(",")]
    if "longest" in sections:  # first, so that the peak is its own
        found["longest"] = longest(65_536, width)
    if "compare" in sections:
        rounds = {length: values.rounds if length < LONG else 2 for length in lengths}
        found["compare"] = [
            row
            for length in lengths
            for row in compare((values.batch, length, heads, width), peer, rounds[length])
        ]
    if "windows" in sections:
        lengths = [int(length) for length in values.window_lengths.split(",")]
        sizes = dict(batch=values.batch, heads=heads, width=width)
        found["windows"] = windows(lengths, sizes, peer, values.rounds)
    if "captures" in sections:
        found["captures"] = captures((values.batch, 1024, heads, width), values.rounds)
    if "crossovers" in sections:
        found["crossovers"] = crossovers(values.rounds)
    if peer is not None:
        peer.stdin.close()
        peer.wait()
    if values.output:
        write_whole(Path(values.output), (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    flags.DEFINE_string("lengths", "1024,4096", "Lengths T = S of the comparison, with commas.")
    flags.DEFINE_string(
        "window_lengths", "4096,8192,16384", "Lengths T = S of the windows, with commas."
    )
    flags.DEFINE_integer("batch", 4, "Batch size.", 1)
    flags.DEFINE_integer("heads", 8, "Number of heads.", 1)
    flags.DEFINE_integer("width", 64, "Head width.", 1)
    flags.DEFINE_integer(
        "rounds", 7, f"Number of rounds; a comparison of length {LONG} or more has 2.", 1
    )
    flags.DEFINE_string(
        "sections", "longest,compare,windows,captures,crossovers", "Sections to measure."
    )
    define_path("peer_python", "", "Python interpreter that has PyTorch; unset, no peer.")
    comparison.define_output()
    flags.adopt_module_key_flags(comparison)
    app.run(main)
