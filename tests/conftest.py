"""Test environment: checked shapes, eight host devices, no rank promotion."""

import gc
import importlib.metadata
import os
import pathlib
import pkgutil

XLA_FLAGS = [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # Tests compile much and compute little; the first halves the compile time of loops, the second
    # saves a tenth of that of all. Later versions do not have the first.
    XLA_FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    XLA_FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
os.environ["XLA_FLAGS"] = " ".join(XLA_FLAGS)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# Programs that tests start compile as quickly as tests do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Nor do they start twice for huge pages.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
# Tracing makes objects by the million, most of which stay.
gc.set_threshold(100_000, 20, 20)

import jaxtyping

# Shape annotations are checked while tests run and cost nothing otherwise. Readers of text and the
# grammar have no arrays of JAX and make a million calls: these are left out.
CODE = pathlib.Path(__file__).parents[1] / "attn_research"
CHECKED = [found.name for found in pkgutil.iter_modules([str(CODE)]) if found.name != "data"]
CHECKED += ["data.audio", "data.batching", "data.images", "data.packing"]
jaxtyping.install_import_hook([f"attn_research.{name}" for name in CHECKED], "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# For the same reason, with any version.
jax.config.update("jax_disable_most_optimizations", True)

# The files of `make quick`: tests of every part, none of which takes long.
QUICK = (
    "attention/test_masks.py",
    "attention/test_sparse_masks.py",
    "attention/test_scores.py",
    "attention/test_normalizers.py",
    "data/test_packing.py",
    "data/text/test_tokenizers.py",
    "data/images/test_images.py",
    "data/audio/",
    "decoding/test_cache.py",
    "evaluation/",
    "experiments/test_harness.py",
    "experiments/test_results.py",
    "experiments/test_tables.py",
    "layers/test_recurrent.py",
    "layers/test_scoring.py",
    "layers/test_masking.py",
    "models/test_mechanisms.py",
    "pretrained/formats/",
    "pretrained/test_checkpoint.py",
    "training/test_step.py",
    "training/test_loop.py",
    "training/test_metrics.py",
    "viewing/",
    "test_imports.py",
    "test_packaging.py",
    "test_trees.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of `make quick`."""
    for item in items:
        place = item.path.relative_to(config.rootpath / "tests").as_posix()
        if place.startswith(QUICK):
            item.add_marker(pytest.mark.quick)


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of real data sets, or a skip that says how to name one."""
    folder = os.environ.get("ATTN_DATA_DIR")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("real data absent: set ATTN_DATA_DIR to the folder that holds it")
    return pathlib.Path(folder)
