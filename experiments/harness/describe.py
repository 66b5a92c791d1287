"""Descriptions of a row: parameters, FLOPs and bytes of a step, and the origin of every value."""

import json
from typing import Any

import jax

from attn_research.training.mesh import mesh_size
from attn_research.training.placement import OneDevice
from attn_research.trees import named_leaves
from experiments.harness import memory_budget
from experiments.harness.memory_budget import show_bytes
from experiments.harness.paper import Paper, Resolved
from experiments.harness.program import Program, make_program


def describe(paper: Paper, row: str, resolved: Resolved) -> dict[str, Any]:
    """Parameters, FLOPs and bytes of a step, from shapes alone."""
    config = resolved.config
    program = make_program(paper, config)
    state, batch = program.state_shapes(), named_leaves(program.task.batch_spec())
    sizes = {path: leaf.size for path, leaf in named_leaves(state.params).items()}
    biases = sum(size for path, size in sizes.items() if path.endswith("bias"))
    return {
        "experiment": paper.name,
        "row": row,
        "scale": config.train.scale,
        "parameters": sum(sizes.values()),
        "weights": sum(sizes.values()) - biases,
        "biases": biases,
        "matmul_flops_per_step": program.step_flops(),
        "state_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)),
        "batch": {path: list(leaf.shape) for path, leaf in batch.items()},
        **({} if program.trainable is None else _trained(program, sizes)),
        **({} if isinstance(program.placement, OneDevice) else _on_mesh(program)),
        "paper": paper.rows[row].paper,
        "config": config.identity(),
        "origin": resolved.layers,
    }


def _trained(program: Program, sizes: dict[str, int]) -> dict[str, Any]:
    """The sizes of trained and of frozen parameters, by path."""
    halves: dict[str, dict[str, int]] = {"trained": {}, "frozen": {}}
    for path, size in sizes.items():
        halves["trained" if program.trainable(path) else "frozen"][path] = size
    return halves


def _on_mesh(program: Program) -> dict[str, Any]:
    """Memory and communication of the largest step, per device of a mesh."""
    found = memory_budget.needs(program)
    return {
        "devices": jax.device_count(),
        "state_bytes_per_device": found.state_bytes,
        "bytes_per_device": found.bytes,
        "collectives": {kind: each._asdict() for kind, each in found.traffic.items()},
    }


def simulate_mesh(mesh: str) -> None:
    """Makes as many CPU devices as a mesh names, so that it can be described anywhere."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", mesh_size(mesh))


def readable(about: dict[str, Any]) -> str:
    """A description as text."""
    lines = [f"{about['experiment']} {about['row']} at scale {about['scale']}"]
    lines += [
        f"  {about['weights']:>15,} weights, and {about['biases']:,} biases",
        f"  {about['matmul_flops_per_step']:>15,.3g} FLOPs of products and convolutions a step",
        f"  {about['state_bytes']:>15,} bytes of parameters and optimizer state",
        f"  the largest batch: {about['batch']}",
        f"  in the paper: {about['paper']}",
    ]
    for name in ("trained", "frozen"):
        if name in about:
            lines.append(f"  {sum(about[name].values()):>15,} {name}:")
            lines += [f"    {size:>13,}  {path}" for path, size in about[name].items()]
    if "devices" in about:
        lines.append(
            f"  on each of {about['devices']} devices {show_bytes(about['bytes_per_device'])}, "
            f"{show_bytes(about['state_bytes_per_device'])} of them state and batch"
        )
        lines += [
            f"  {each['count']:>15,} x {kind}, {show_bytes(each['bytes'])} in all"
            for kind, each in about["collectives"].items()
        ]
    values = {name: json.dumps(value) for name, value in about["config"].items()}
    width = max(map(len, values)), max(map(len, values.values()))
    lines.append("  values, and the layer that each comes from:")
    lines += [
        f"    {name:<{width[0]}}  {value:<{width[1]}}  {about['origin'][name]}".rstrip()
        for name, value in values.items()
    ]
    return "\n".join(lines)
