"""Checks of development and test sets, so that a model can be scored after training."""

from collections.abc import Mapping, Sequence

from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import Encoded, encode_pairs
from attn_research.data.text.tokenizers import Tokenizer
from attn_research.data.text.treebank import Tree
from attn_research.evaluation.bleu import has_words
from attn_research.evaluation.parsing import count_brackets


def encode_split(
    name: str, pairs: Sequence[Pair], tokenizers: tuple[Tokenizer, Tokenizer]
) -> Encoded:
    """A development or test set as ids; a ValueError where it has no pairs, or too long ones.

    Empty sentences are encoded as any other: they are translated, aligned and scored.
    """
    if not len(pairs):
        raise ValueError(f"the split {name!r} holds no pairs: give it some")
    try:
        return encode_pairs(pairs, *tokenizers)
    except ValueError as error:
        raise ValueError(f"the split {name!r}: {error}") from None


def check_references(gold: Mapping[str, Sequence[Pair] | Sequence[Tree]]) -> None:
    """A ValueError for a test set whose references hold nothing to score, no word or no bracket."""
    for name, references in gold.items():
        if not len(references):
            raise ValueError(f"the split {name!r} holds no pairs: give it some")
        if isinstance(references[0], Tree):
            found, what = bool(gold_brackets(references)), "brackets"
        else:
            found, what = has_words([pair.target for pair in references]), "words"
        if not found:
            raise ValueError(
                f"the references of the split {name!r} hold no {what}, so that there is nothing to "
                "score: give it some"
            )


def gold_brackets(trees: Sequence[Tree]) -> int:
    """The number of brackets of gold trees that are scored."""
    return sum(count_brackets(tree, tree.tags).total() for tree in trees)
