"""Radford et al. 2022: Whisper's encoder-decoder on strings of words, trained from nothing."""

import dataclasses

from attn_research.attention import Full, Window
from attn_research.layers.audio import AudioStem
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.models.transformer import Transformer
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.networks import StackConfig
from experiments.tasks.speech.config import SoundAugmentConfig, SpeechRecognitionConfig
from experiments.tasks.speech.data import num_frames
from experiments.tasks.speech.inference import STEP_FRAMES
from experiments.tasks.speech.recognition import SpeechRecognitionTask
from experiments.whisper2022 import tables


@dataclasses.dataclass(frozen=True)
class WhisperConfig(StackConfig):
    """The network."""

    decoder_layers: int = setting(2, "Layers of the decoder.", 1)
    half_width: int = setting(
        0, "States of 20 ms on either side that the encoder attends to; 0: all.", 0
    )


def make_network(config: Config, task: SpeechRecognitionTask) -> Transformer:
    """The network of a config: sections 2.2 and 2.3, with positions of words that are learned."""
    model, part = config.model, config.task
    half = model.half_width
    return Transformer(
        part.sound.num_mels,
        task.vocab_size,
        **model.sizes(),
        num_decoder_layers=model.decoder_layers,
        dropout=model.dropout,
        attention_bias=("query", "value", "output"),
        pre_norm=True,
        tied=False,
        block=BlockConfig(activation="gelu"),
        positions=LearnedPositions(part.max_tokens),
        embedding_scale=1.0,
        stem=AudioStem(model.model_dim, -(-num_frames(part.sound) // STEP_FRAMES)),
        mask=Window(half, half) if half else Full(),
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )


ROWS = {
    "transcribe": Row(),
    "transcribe-near": Row({"half_width": 15}),
    "transcribe-new-speaker": Row({"held_out_speaker": 1}),
}
_AUGMENTED = dict(speed=1.1, time_mask=20, mel_mask=15)
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, decoder_layers=2, model_dim=16, mlp_dim=32, num_heads=2, num_steps=12,
        eval_every=6, save_every=6, warmup_steps=2, batch_size=8, train_words=40, test_words=20,
        dev_strings=4, test_strings=6, max_words=3, seconds=2.5, num_mels=16, max_tokens=6,
    ), data={"fsdd_strings": dict(seconds=4.0)}, time=TINY_TIME),
    "small": Scale(data={
        "tones": dict(seconds=3.0, max_words=4, num_steps=500, eval_every=125, save_every=500),
        "fsdd_strings": _AUGMENTED,
        "audio": _AUGMENTED | dict(seconds=10.0, max_tokens=120, tokenizer="bytes"),
    }),
    # The sizes of tiny, with all of a window of 30 seconds.
    "paper": Scale(dict(
        data="audio", num_layers=4, decoder_layers=4, model_dim=384, mlp_dim=1536, num_heads=6,
        seconds=30.0, tokenizer="bytes", max_tokens=448, batch_size=256, num_steps=100_000,
        learning_rate=1.5e-3, warmup_steps=2048, save_every=1000, eval_every=1000,
    )),
}  # fmt: skip

TITLE = "Radford et al. 2022: does a recogniser of speech attend to the word that is spoken?"
CONFIG = Config(
    train=TrainConfig(num_steps=2400, eval_every=300, save_every=600),
    optimizer=OptimizerConfig(
        optimizer="adamw", learning_rate=2e-3, weight_decay=0.05, warmup_steps=150
    ),
    task=SpeechRecognitionConfig(augment=SoundAugmentConfig(time_shift=0.1)),
    model=WhisperConfig(num_layers=3, model_dim=96, mlp_dim=256, num_heads=4, dropout=0.1),
)
PAPER = Paper(
    name="whisper2022", title=TITLE, config=CONFIG, rows=ROWS, default_row="transcribe",
    scales=SCALES, task=SpeechRecognitionTask, network=make_network, report=tables.report,
)  # fmt: skip
