"""The conformance matrix through its command, and its samples."""

import json
import subprocess
import sys

import jax.numpy as jnp

from attn_research.attention import Positions, api
from attn_research.attention.backends import reference
from experiments.conformance import matrix, tables


def test_the_command_writes_a_verifiable_matrix(tmp_path):
    words = ["--implementations=gathered,reference", "--mechanisms=dot,local-m", "--noprogress"]
    words += ["--masks=causal & left padding", "--samples=1", f"--output={tmp_path}"]
    command = [sys.executable, "-m", "experiments.conformance", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "conformance.json").read_text())
    assert len(found["cases"]) == 2 * 2 * 1 * 3  # and three dtypes in each
    assert [row[4] for row in found["cases"][-3:]] == [2 + 3, 2 + 3, 0]  # empty rows
    assert "**27 pass, 9 are refused, 0 are wrong**" in done.stdout
    assert "the mask sets no bound to the keys of a query |       gathered |     9" in done.stdout
    assert tables.verify(tmp_path / "conformance.json") == (
        tmp_path.name, "rendered the same", True,
    )  # fmt: skip
    page = tmp_path / "conformance.md"
    page.write_text(page.read_text().replace("27 pass", "28 pass"))
    assert not tables.verify(tmp_path / "conformance.json")[-1]


def test_an_unknown_name_is_refused():
    command = [sys.executable, "-m", "experiments.conformance", "--mechanisms=dto"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "choose from dot, scaled_dot," in done.stderr


def test_samples_are_the_same_sizes_for_every_implementation():
    trials = matrix.make_samples(["tiled", "reference"], 24)
    sizes = [trial.cases[0].sizes for trial in trials]
    assert sizes[:24] == sizes[24:] and len(set(sizes)) == 24
    for _, T, S, _, _, H, Hv in sizes:
        assert 1 <= T <= 257 and 1 <= S <= 257
        assert Hv == H and H in range(16, 257, 8)


def late(call):
    positions = Positions(query=jnp.arange(call.lengths[0]) - 1)
    return reference.attend(call.replace(positions=positions))


def test_a_wrong_implementation_fails_the_matrix(monkeypatch, tmp_path):
    wrong = api.Implementation("wrong", reference.unsupported, late)
    monkeypatch.setattr(api, "IMPLEMENTATIONS", (*api.IMPLEMENTATIONS, wrong))
    names = ["reference", "wrong"]
    lines = matrix.run(names, ["dot"], ["causal"], samples=0, output=str(tmp_path))
    assert {line.split(",")[0] for line in lines} == {"wrong"}
    page = (tmp_path / "conformance.md").read_text()
    assert "**9 pass, 0 are refused, 9 are wrong**" in page
    assert all(line in page for line in lines)
