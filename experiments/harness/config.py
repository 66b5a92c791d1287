"""Configs: frozen dataclasses of values, grouped in parts, one flag for each value."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jax

from attn_research.attention.api import IMPLEMENTATIONS
from attn_research.layers.remat import Remat
from attn_research.training.cores import cores_in_use
from attn_research.training.mesh import TensorRules
from attn_research.training.optimizers import DECAYING
from attn_research.training.placement import Placement, make_placement

ScaleName = Literal["tiny", "small", "paper"]
OptimizerName = Literal["adam", "adamw", "adamw_99", "adam_2017", "adadelta", "muon", "sgd"]
ScheduleName = Literal["constant", "cosine", "halving", "inverse_sqrt"]


# A condition under which a value is used: other values by name, each with those of its own that
# suffice; () stands for any but zero, false and the empty text. One of the names suffices.
Clause = Mapping[str, tuple]


def setting(
    default: Any,
    text: str,
    minimum: float | None = None,
    *,
    maximum: float | None = None,
    local: bool = False,
    path: bool = False,
    needs: Clause | Sequence[Clause] = (),
) -> Any:
    """A field of a config: its default, the flag's help, and the least and greatest value.

    A `local` value, such as a folder, is not part of a run's identity. A `path`, or several with
    commas, may begin with ~. The value has an effect where all of `needs` hold; as a flag it is
    refused elsewhere.
    """
    clauses = (needs,) if isinstance(needs, Mapping) else tuple(needs)
    about = {"help": text, "minimum": minimum, "maximum": maximum, "local": local, "path": path}
    return dataclasses.field(default=default, metadata=about | {"needs": clauses})


def fraction(default: float, text: str, needs: Clause | Sequence[Clause] = ()) -> Any:
    """A field of a config from 0 to 1, such as a rate of dropout."""
    return setting(default, text, 0.0, maximum=1.0, needs=needs)


def data_folder(*names: str) -> Any:
    """The field `data_dir` of a config of data, for the data sets of these names."""
    return setting(
        "",
        "Folder of data sets; unset, the environment variable ATTN_DATA_DIR.",
        local=True,
        path=True,
        needs={"data": names},
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training: its length, its measurements and its checkpoints."""

    scale: ScaleName = setting(
        "small",
        "Size of the experiment: tiny takes seconds, small minutes on a CPU, paper is the paper's.",
    )
    seed: int = setting(0, "Seed of initial parameters, data order and dropout.", 0)
    num_steps: int = setting(1000, "Number of training steps.", 1)
    eval_every: int = setting(500, "Steps between two evaluations on the development set.", 1)
    save_every: int = setting(500, "Steps between two checkpoints.", 1)
    average: int = setting(
        0,
        "Number of last checkpoints whose mean is evaluated; 0 evaluates the best parameters.",
        0,
    )
    best_by: str = setting(
        "loss",
        "Development measurement that chooses the best parameters: the lowest, or the highest with "
        "a plus sign before its name, as in +accuracy.",
    )
    init_from: str = setting(
        "",
        "Folder of a run, whose best parameters training starts from where shapes are the same, or "
        "of a published checkpoint.",
        path=True,
    )
    dtype: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Type that training computes in; parameters, sums and losses are float32 always.",
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate."""

    optimizer: OptimizerName = setting("adam", "Optimizer.")
    weight_decay: float = setting(
        0.0,
        "Decoupled weight decay of dense layers' matrices and, but for muon, of embeddings.",
        0.0,
        needs={"optimizer": DECAYING},
    )
    learning_rate: float = setting(1e-3, "Learning rate at the peak of the schedule.", 0.0)
    schedule: ScheduleName = setting("cosine", "Schedule of the learning rate over the steps.")
    warmup_steps: int = setting(
        100,
        "Steps of linear warmup of the schedules cosine and inverse_sqrt.",
        0,
        # A paper may derive a learning rate of 0 from it.
        needs={"schedule": ("cosine", "inverse_sqrt"), "learning_rate": (0.0,)},
    )
    end_rate: float = setting(
        0.01,
        "Learning rate at the end of the schedule cosine, as a fraction of that at the peak.",
        0.0,
        needs={"schedule": ("cosine",)},
    )
    halve_after: float = setting(
        0.5,
        "Fraction of the steps before the schedule halving first halves the rate.",
        0.0,
        needs={"schedule": ("halving",)},
    )
    halve_every: float = setting(
        0.1,
        "Fraction of the steps between two halvings of the schedule halving.",
        1e-6,
        needs={"schedule": ("halving",)},
    )
    clip_norm: float = setting(
        1.0, "Largest global L2 norm of a gradient; larger ones are scaled.", 1e-6
    )


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """Execution: how a step is computed, which leaves its result as it is."""

    implementation: Literal["auto", *(each.name for each in IMPLEMENTATIONS)] = setting(
        "auto",
        "Implementation of attention; auto takes the first of the chain that supports a call.",
    )
    placement: Literal["auto", "jit", "sharded", "pmap"] = setting(
        "auto",
        "Devices of a step: one (jit), a mesh (sharded), or data parallel by jax.pmap (pmap); auto "
        "is sharded over the cores of a CPU, several processes or a --mesh, else jit.",
    )
    cpu_devices: int = setting(
        0,
        "Number of devices that the cores of a CPU are divided among; 0 makes each core one, but "
        "the whole CPU at scale tiny.",
        0,
        needs={"placement": ("auto", "sharded", "pmap")},
    )
    mesh: str = setting(
        "",
        "Sizes of the mesh axes data, fsdp, tensor and sequence, as in data=4,fsdp=2; unset, all "
        "devices are on the axis data.",
        needs={"placement": ("auto", "sharded", "pmap")},
    )
    num_microbatches: int = setting(
        1, "Number of microbatches that the gradient of a batch is accumulated over.", 1
    )
    remat: Remat = setting(
        "none",
        "Rematerialization in the backward pass: of nothing, of all but matrix products (dots), or "
        "of whole layers (all).",
    )
    max_bytes: str = setting(
        "", "Memory of a device, as in 1.5GiB; a step that needs more is refused with a way out."
    )
    max_compiles: int = setting(
        0,
        "Number of batch shapes, each a program to compile, above which a run is refused; 0: any.",
        0,
    )

    @property
    def named_implementation(self) -> str | None:
        """The argument of `attend`."""
        return None if self.implementation == "auto" else self.implementation


@dataclasses.dataclass(frozen=True)
class Config:
    """All values of a run, in parts.

    A part is a frozen dataclass of values made by `setting`, or of further parts. Names of values
    are unique over all parts, so that flags, rows, scales and result files are flat.
    """

    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    execution: ExecutionConfig = ExecutionConfig()
    task: Any = None
    model: Any = None

    def __post_init__(self):
        names = [field.name for _, field in self.fields()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TypeError(f"two parts of a config have the values {', '.join(twice)}")

    def fields(self) -> Iterator[tuple[Any, dataclasses.Field]]:
        """(part, field) of every value."""
        return _fields(self)

    def values(self) -> dict[str, Any]:
        """Every value by its name."""
        return {field.name: getattr(part, field.name) for part, field in self.fields()}

    def replace(self, **values: Any) -> "Config":
        """A copy with other values, by name; ValueError for a name that is none."""
        known = {field.name for _, field in self.fields()}
        if unknown := sorted(values.keys() - known):
            raise ValueError(f"no value of this experiment is called {', '.join(unknown)}")
        return _replace(self, values)

    def identity(self) -> dict[str, Any]:
        """The values that identify a run: all but execution and machine-local ones."""
        return {
            field.name: getattr(part, field.name)
            for part, field in self.fields()
            if part is not self.execution and not field.metadata["local"]
        }

    @property
    def data(self) -> str:
        """The name of the data set, for tasks that have several."""
        return self.values().get("data", "")


def config_placement(
    config: Config, tensor_rules: TensorRules = (), num_rows: int = 0
) -> Placement:
    """The placement that a config names, over the devices there are.

    Of the cores of a CPU those are used that divide `num_rows`, the rows of a batch, evenly.
    """
    part, name, mesh = config.execution, config.execution.placement, config.execution.mesh
    if name == "auto" and not mesh and jax.process_count() == 1:
        count = cores_in_use()
        while count > 1 and num_rows % (count * part.num_microbatches):
            count -= 1
        name, mesh = ("sharded", f"data={count}") if count > 1 else ("jit", "")
    elif name == "auto":
        name = "sharded"
    return make_placement(name, mesh, tensor_rules, part.num_microbatches)


def padded_rows(config: Config, count: int) -> int:
    """The rows of a batch of `count` with the empty ones that devices need to share it evenly."""
    return count + -count % config_placement(config).row_multiple


def file_name(label: str) -> str:
    """A row's label, ROW or ROW, VALUE=..., as a part of file names."""
    name = label.replace("/", "-").replace(", ", ",")
    if len(name) > 120:  # a file system takes 255 bytes
        name = f"{name.partition(',')[0]},{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name


def run_name(label: str, seed: int | str) -> str:
    """The name of a run's files: ROW.seedN, where a slash in the row is a hyphen."""
    return f"{file_name(label)}.seed{seed}"


def _is_part(value: Any) -> bool:
    return dataclasses.is_dataclass(value)


def names_in(part: Any) -> set[str]:
    """The names of the values in a part of a config, or in none."""
    return {field.name for _, field in _fields(part)} if _is_part(part) else set()


def _fields(part: Any) -> Iterator[tuple[Any, dataclasses.Field]]:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if _is_part(value):
            yield from _fields(value)
        elif value is not None or "help" in field.metadata:
            yield part, field


def _replace(part: Any, values: dict[str, Any]) -> Any:
    changes = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if _is_part(value):
            changes[field.name] = _replace(value, values)
        elif "help" in field.metadata and field.name in values:
            changes[field.name] = values[field.name]
    return dataclasses.replace(part, **changes)
