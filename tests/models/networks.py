"""Small encoder-decoders of every kind, with every score and locality."""

from attn_research.attention import Sigmoid, Window, entmax15
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.embeddings import BucketedBiases, LearnedPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.masking import make_locality
from attn_research.layers.normalizing import NORMALIZERS
from attn_research.layers.scoring import make_scoring
from attn_research.models.luong import LuongSeq2Seq
from attn_research.models.rnn_search import RNNSearch
from attn_research.models.transformer import Transformer

B, T, S, N_WORDS, HIDDEN = 2, 5, 9, 11, 6
VOCAB = dict(source_vocab=12, target_vocab=N_WORDS)
SIZES = dict(**VOCAB, hidden_dim=HIDDEN, embedding_dim=5)
LAYERS = dict(num_layers=3, model_dim=8, mlp_dim=10, num_heads=2)


def attention(
    score, locality="global", half_width=2, normalizer="softmax", *, features=3, max_length=8
):
    scoring = make_scoring(score, features=features, max_length=max_length)
    return MemoryAttention(scoring, make_locality(locality, half_width), NORMALIZERS[normalizer](2))


def rnn_search(*mechanism, **options):
    made = attention(*mechanism) if mechanism else None
    return RNNSearch(**SIZES, maxout_dim=4, attention=made, **options)


def luong(*mechanism, max_length=8, **options):
    sizes = dict(features=4, max_length=max_length)
    made = attention(*mechanism, **sizes) if mechanism else None
    return LuongSeq2Seq(**SIZES, num_layers=2, attention=made, **options)


def transformer(**options):
    return Transformer(12, 12, **LAYERS, **options)


T5 = dict(
    pre_norm=True, block=BlockConfig(norm="rms_norm", use_bias=False), num_decoder_layers=2,
    positions=None, position_bias=BucketedBiases(8, 9), own_head=True, output_bias=True,
    decoder_position_bias=BucketedBiases(8, 9, bidirectional=False),
)  # fmt: skip
NETWORKS = {
    "RNNencdec": rnn_search(),
    "RNNsearch": rnn_search("additive"),
    "RNNsearch, tied": RNNSearch(12, 12, HIDDEN, 4, 4, attention("additive"), tied=True),
    "RNNsearch, conditional": rnn_search("additive", conditional=True),
    "RNNsearch, local-p general": rnn_search("general", "local_p"),
    "RNNsearch, local-m location": rnn_search("location", "local_m"),
    "RNNsearch, sparsemax": rnn_search("additive", "local_p", 2, "sparsemax"),
    "RNNsearch, causal concat": rnn_search("concat", "causal"),
    "Transformer": transformer(),
    "Transformer, T5's": transformer(**T5),
    "Transformer, pre-norm, grouped": transformer(pre_norm=True, num_kv_heads=1, value_dim=3),
    "Transformer, general, learned": transformer(
        scoring=make_scoring("general"), positions=LearnedPositions(30), tied=False
    ),
    "Transformer, additive": transformer(scoring=make_scoring("additive"), attention_bias=True),
    "Transformer, entmax15": transformer(normalizer=entmax15),
    "Transformer, sigmoid": transformer(normalizer=Sigmoid(-2.0)),
    "Transformer, windows": transformer(mask=Window(2, 1), decoder_mask=Window(1, 0)),
    "stacked": luong(),
    "stacked, reverse, feed": luong(reverse=True, input_feeding=True),
    "stacked, dot": luong("dot", reverse=True),
    "stacked, location, feed": luong("location", max_length=20, input_feeding=True, reverse=True),
    "stacked, local-m general, feed": luong("general", "local_m", 1, input_feeding=True),
    "stacked, local-p dot": luong("dot", "local_p"),
    "stacked, local-p concat, feed": luong(
        "concat", "local_p", 1, input_feeding=True, reverse=True
    ),
}
