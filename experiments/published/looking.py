"""All attention of a published checkpoint over one text or image."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from attn_research.data.files import read_json_object, user_path
from attn_research.data.images.files import read_image
from attn_research.models.transformer import Transformer
from attn_research.models.vit import ViT
from attn_research.pretrained import from_checkpoint, read_checkpoint
from attn_research.viewing.views import patches_view
from experiments.harness.task import Looked, Response, head_maps, views_of_maps
from experiments.published import transcription, translation
from experiments.published.continuation import Options
from experiments.published.model import load_published

_LARGEST = 224  # pixels of a side; positions are resized for it where a model has more


def look_at_text(path: str, text: str) -> Looked:
    """What every head attends to in a text, or of a translator in a text and its translation."""
    model = load_published(path)
    name = type(model.network).__name__
    if isinstance(model.network, Transformer):
        return translation.look(model, text, Options())
    ids, types = model.encode(text)
    types = types if hasattr(model.network, "heads") else None
    weights = np.asarray(model.read(ids, types, capture="all").weights)[
        0, :, :, : len(ids), : len(ids)
    ]
    labels = model.tokenizer.labels(ids)
    maps = head_maps(weights, labels, labels)
    return Looked(Response(text, "", {}, maps, [f"model: {name}"]), views_of_maps(maps))


def look_at_sound(path: str, sound: str) -> Looked:
    """Where every head of a Whisper's decoder attends in a sound, for each token of its words."""
    model = load_published(path)
    if "transcribe" not in model.abilities:
        raise ValueError(f"--audio={sound}: this {type(model.network).__name__} reads text")
    options = Options(num_tokens=transcription.MOST_TOKENS)
    heard = transcription.respond(model, [sound], options, maps=True, by_head=True)
    (response,) = heard
    return Looked(response, views_of_maps(response.maps))


def look_at_image(path: str, image: str) -> Looked:
    """What every head of a ViT attends to in an image, scaled to its size, 224 pixels at most."""
    checkpoint = read_checkpoint(path)
    network, params = from_checkpoint(checkpoint)
    if not isinstance(network, ViT):
        raise ValueError(f"--image={image}: this {type(network).__name__} reads text: give --text")
    size = min(network.image_size[0], _LARGEST)
    size -= size % network.patch
    pixels = read_image(user_path(image), size)
    place = (checkpoint.where or Path()) / "preprocessor_config.json"
    config = read_json_object(place) if place.is_file() else {}
    mean, deviation = (
        np.float32(config.get(name, [0.5] * 3)) for name in ("image_mean", "image_std")
    )
    inputs = jnp.asarray((pixels / np.float32(255) - mean) / deviation)[None]
    weights = np.asarray(network.apply(params, inputs, capture="all", method="read").weights[0])
    notes = [f"an image of {size} pixels, minus {mean.tolist()}, divided by {deviation.tolist()}"]
    view = patches_view(weights, pixels, network.grid(pixels.shape[:2]))
    return Looked(Response(image, "", {}, {}, notes), [view])
