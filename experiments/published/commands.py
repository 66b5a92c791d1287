"""The flags of experiments.predict for published checkpoints, and what they ask for."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator

from absl import flags

from attn_research.decoding import Beam, Sampling
from attn_research.layers.contracts import Capture, CaptureSome
from experiments.harness.machine import cache_programs
from experiments.harness.path_flags import define_path
from experiments.harness.task import Response
from experiments.published import continuation, encoders, transcription, translation
from experiments.published.model import ABILITIES, Published, load_published

# Flags of continuations.
CONTINUATION = (
    "num_tokens", "temperature", "top_k", "top_p", "beam_size", "length_penalty", "stop", "seed",
    "weights", "batch_size", "stream", "window", "sinks",
)  # fmt: skip
OF_SOUNDS = "silence", "timestamps"
_SAMPLING = "temperature", "top_k", "top_p"
# Those of them that translations and transcripts have too.
_OF_TRANSLATION = "num_tokens", "beam_size", "length_penalty", "batch_size"
_OF_TRANSCRIPTS = "num_tokens", "beam_size", "length_penalty"
_MOST_PANELS = 64


def define_published() -> None:
    """Defines the flags."""
    define_path("checkpoint", "", "Folder of a published checkpoint, or a GGUF file.")
    flags.DEFINE_enum("do", "", ["", *ABILITIES], "What to do with a text; unset, by the model.")
    flags.DEFINE_integer(
        "num_tokens", 64, "Tokens of a continuation or translation.", lower_bound=1
    )
    flags.DEFINE_float(
        "temperature", 0.0, "Divisor of the logits; 0: the most probable token.", lower_bound=0.0
    )
    flags.DEFINE_integer("top_k", 0, "Most probable tokens to draw from; 0: all.", lower_bound=0)
    flags.DEFINE_float("top_p", 1.0, "Probability of the nucleus that is drawn from.")
    flags.DEFINE_integer("beam_size", 1, "Hypotheses of beam search; 1: no beam.", lower_bound=1)
    flags.DEFINE_float(
        "length_penalty", 1.0, "Power of the length that a beam divides log-probabilities by."
    )
    flags.DEFINE_multi_string("stop", [], "Text that ends a continuation; may be given again.")
    flags.DEFINE_integer("seed", 0, "Seed of what is drawn.")
    flags.DEFINE_enum(
        "weights", "float32", ["float32", "int8"], "Weights of a continuation, on a CPU in int8."
    )
    flags.DEFINE_integer("batch_size", 8, "Texts of --file that are read at once.", lower_bound=1)
    flags.DEFINE_bool("stream", None, "Show a continuation as it comes; unset, on a terminal.")
    flags.DEFINE_integer(
        "window",
        0,
        "Tokens that each token attends to, itself included, so that memory does not grow with "
        "the text; 0: all before it.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "sinks", 4, "First tokens that all attend to, with --window.", lower_bound=0
    )
    flags.DEFINE_float(
        "silence",
        None,
        "Seconds of silence that Whisper hears after a sound; unset, up to 30 in all, as "
        "published. Less is quicker, and often wrong.",
        lower_bound=0.0,
    )
    flags.DEFINE_bool("timestamps", False, "Times of the segments of a transcript.")
    flags.DEFINE_list("layers", [], "Layers to draw, from 1; unset, the last of --checkpoint.")
    flags.DEFINE_list("heads", [], "Heads to draw, from 1; unset, all.")


def respond_published(
    read_inputs: Callable[[str], Iterable[str]], *, maps: bool
) -> Iterator[Response]:
    """The responses of a checkpoint to the inputs; a line on standard error says what it does."""
    values = flags.FLAGS
    cache_programs()
    model = load_published(values.checkpoint)
    ability = model.choose(values.do)
    others = [f"--do={each}" for each in model.abilities if each != ability]
    more = f" (also {' '.join(others)})" if others else ""
    print(f"{type(model.network).__name__}: {ability}{more}", file=sys.stderr, flush=True)
    if ability == "transcribe":
        _refuse(ability, _OF_TRANSCRIPTS)
        yield from _transcribe(model, read_inputs("audio"), maps)
        return
    if given := [name for name in OF_SOUNDS if values[name].present]:
        raise ValueError(f"--{given[0]} is for sounds, and this is {ability}")
    if maps and not values.layers:
        values.layers = [str(model.num_layers)]
    capture = _chosen(model) if maps and ability != "translate" else None
    if ability == "continue":
        yield from _continue(model, read_inputs("text"), capture)
        return
    _refuse(ability, _OF_TRANSLATION if ability == "translate" else ())
    if ability == "translate":
        yield from translation.respond(model, read_inputs("text"), _options(), maps=maps)
        return
    yield from encoders.respond(model, ability, read_inputs("text"), capture=capture)


def _refuse(ability: str, known: tuple[str, ...]) -> None:
    """ValueError for a flag of continuations that is not among those known."""
    given = [name for name in CONTINUATION if flags.FLAGS[name].present and name not in known]
    if given:
        raise ValueError(f"--{given[0]} is for --do=continue, and this is {ability}")


def _transcribe(model: Published, inputs: Iterable[str], maps: bool) -> Iterator[Response]:
    values, options = flags.FLAGS, _options()
    if not values["num_tokens"].present:
        options = dataclasses.replace(options, num_tokens=transcription.MOST_TOKENS)
    by_head = bool(values.layers or values.heads)
    yield from transcription.respond(
        model, inputs, options, maps=maps, silence=values.silence, timestamps=values.timestamps,
        by_head=by_head,
    )  # fmt: skip


def _chosen(model: Published) -> CaptureSome:
    """The layers and heads that the flags ask for; ValueError where the model has none such."""
    values, network = flags.FLAGS, model.network
    found = []
    for flag, count in (("layers", network.num_layers), ("heads", network.num_heads)):
        given = values[flag].value or [str(number + 1) for number in range(count)]
        for each in given:
            if not each.isdecimal() or not 1 <= int(each) <= count:
                raise ValueError(f"--{flag}={each}: the model has {flag} 1 to {count}")
        found.append(tuple(dict.fromkeys(int(each) - 1 for each in given)))
    return CaptureSome(*found)


def _continue(model: Published, inputs: Iterable[str], capture: Capture) -> Iterator[Response]:
    values, options = flags.FLAGS, _options()
    asked = sys.stdout.isatty() if values.stream is None else values.stream
    show = _show if asked and not values.json and values.beam_size == 1 else None
    for response in continuation.respond(model, inputs, options, capture=capture, show=show):
        yield response._replace(output="") if show else response


def _options() -> continuation.Options:
    """The options that the flags ask for; ValueError where they contradict each other."""
    values = flags.FLAGS
    strategy = Sampling(values.temperature, values.top_k, values.top_p)
    if values.beam_size > 1:
        if given := [name for name in _SAMPLING if values[name].present]:
            raise ValueError(f"--{given[0]} and --beam_size: a beam draws nothing, give one")
        strategy = Beam(values.beam_size, values.length_penalty)
    elif values.length_penalty != 1:
        raise ValueError("--length_penalty is of a beam: give --beam_size as well")
    elif not values.temperature and (values.top_k or values.top_p < 1):
        raise ValueError("--top_k and --top_p cut what is drawn from: give --temperature as well")
    if values.window and (values.beam_size > 1 or values.attention):
        other = "beam_size" if values.beam_size > 1 else "attention"
        raise ValueError(f"--window and --{other}: a stream keeps no more than its window")
    if values["sinks"].present and not values.window:
        raise ValueError("--sinks is of a stream: give --window as well")
    return continuation.Options(
        values.num_tokens,
        strategy,
        tuple(values.stop),
        values.seed,
        values.weights,
        # Lines of a terminal are answered one by one.
        values.batch_size if values.file else 1,
        values.window,
        values.sinks,
    )


def _show(text: str) -> None:
    print(text, end="", flush=True)


def some_maps(response: Response, layers: list[str], heads: list[str]) -> Response:
    """The response with the maps of some layers and heads alone; ValueError where there are none.

    Maps that are of no head, such as those of an encoder-decoder, stay where neither is given.
    """
    if not layers and not heads:
        return response
    kept = {
        name: each
        for name, each in response.maps.items()
        if _is_of(name, "layer", layers) and _is_of(name, "head", heads)
    }
    if not kept or len(kept) > _MOST_PANELS:
        raise ValueError(
            f"--layers={','.join(layers)} --heads={','.join(heads)} are {len(kept)} maps of "
            f"{len(response.maps)}, which end with {list(response.maps)[-1:]}: give 1 to "
            f"{_MOST_PANELS}"
        )
    return response._replace(maps=kept)


def _is_of(name: str, kind: str, numbers: list[str]) -> bool:
    """Whether a map called "layer 3, head 5" is of one of the layers, or heads, of that number."""
    return not numbers or any(f"{kind} {number}" in name.split(", ") for number in numbers)
