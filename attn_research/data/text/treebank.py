"""Linearized constituency trees: the WSJ sample of the Penn Treebank, and trees from lines.

The linearization of Vinyals, Kaiser et al. 2015 ("Grammar as a Foreign Language"), which
Vaswani et al. 2017, section 6.3 parse with: `(S (NP XX XX )NP (VP XX )VP XX )S`; or, `tagged`, with
the words' part-of-speech tags: `(S (NP DT NN )NP (VP VBZ )VP . )S`.
"""

import dataclasses
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from attn_research.data.download import find_data_file
from attn_research.data.files import decode_lines, one_line, shorten
from attn_research.data.text.corpus import Pair
from attn_research.data.text.parallel import fingerprint_pairs

TOP = "TOP"  # the root of every tree; never written in a line
TAG = "XX"  # in place of every part-of-speech tag in a line without tags
TRACE = "-NONE-"
LINES = {"tree": False, "tagged": True}  # language codes of lines, and whether they have tags

# The numbers NNNN of the files wsj_NNNN.mrg.
SPLITS = {"train": range(1, 160), "dev": range(160, 180), "test": range(180, 200)}

_TOKEN = re.compile(r"[()]|[^\s()]+")
_CATEGORY = re.compile("[^-=]+")
_MAX_MEMBER = 1 << 24  # bytes of a file in the archive, decompressed


class Tree(NamedTuple):
    """A constituent over its children, or a part-of-speech tag over its word, without children."""

    label: str
    children: tuple["Tree", ...] = ()
    word: str | None = None

    @property
    def leaves(self) -> list["Tree"]:
        """The tags over single words, from left to right."""
        found, todo = [], [self]
        while todo:  # not recursive: an untrained model nests brackets hundreds deep
            tree = todo.pop()
            if tree.word is not None:
                found.append(tree)
            todo += reversed(tree.children)
        return found

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(leaf.word for leaf in self.leaves)

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(leaf.label for leaf in self.leaves)


@dataclasses.dataclass(frozen=True)
class Treebank:
    """The WSJ sample, 3,914 trees of files 1 to 199, from treebank/treebank.zip in `data_dir`.

    A pair is the words of a sentence, as the treebank tokenizes and escapes them (-LRB-, 1\\/2),
    and its linearized tree, with or without tags. The sample lies in sections 00 and 01, so that it
    cannot be split as papers split the WSJ (sections 2-21, 22 and 23). Here files 1-159 are `train`
    (3,396 trees), 160-179 `dev` (273) and 180-199 `test` (245), whole articles each; two of the
    test's sentences, of five and six words, occur in `train` too. `trees` has the gold trees with
    their tags.
    """

    data_dir: str | Path | None = None
    tagged: bool = False

    @property
    def languages(self) -> tuple[str, str]:
        return ("en", "tagged" if self.tagged else "tree")

    def split(self, name: str) -> Sequence[Pair]:
        """The sentences of one split with their linearized trees."""
        return list(map(self._make_pair, self.trees(name)))

    def trees(self, name: str) -> list[Tree]:
        """The trees of one split, cleaned (see `clean`)."""
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}: the treebank has {', '.join(SPLITS)}")
        path = find_data_file("treebank/treebank.zip", self.data_dir)
        members = [f"treebank/combined/wsj_{number:04}.mrg" for number in SPLITS[name]]
        trees = []
        for member, content in zip(members, _read_members(path, members), strict=True):
            where = f"{path}, {member}"
            text = "\n".join(decode_lines(io.BytesIO(content), where))
            trees += map(clean, parse_trees(text, where))
        return [tree for tree in trees if tree is not None]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's sentences, trees and tags, in hex."""
        trees = self.trees(name)
        digest = hashlib.sha256(fingerprint_pairs(map(self._make_pair, trees)).encode())
        for tree in trees:
            digest.update(f"\n{' '.join(tree.tags)}".encode())
        return digest.hexdigest()

    def _make_pair(self, tree: Tree) -> Pair:
        return Pair(" ".join(tree.words), linearize(tree, tagged=self.tagged))


def _read_members(path: Path, members: Sequence[str]) -> Iterator[bytes]:
    """The contents of files in a zip archive; a ValueError where it is damaged or another one."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in members:
                with archive.open(member) as file:
                    content = file.read(_MAX_MEMBER + 1)
                if len(content) > _MAX_MEMBER:
                    raise zipfile.BadZipFile(f"{member} is longer than {_MAX_MEMBER:,} bytes")
                yield content
    except Exception as error:  # of many kinds, where a zip is damaged
        raise ValueError(
            f"{path}: not the zip of the treebank sample ({one_line(error)})"
        ) from None


def parse_trees(text: str, where: str = "text") -> Iterator[Tree]:
    """The bracketed trees of a text as they are written, each under one TOP.

    The empty outer bracket of the treebank's files becomes TOP; a tree without one is put under it.
    A ValueError names `where` and the line of what is no tree.
    """
    stack: list[tuple[int, list]] = []  # of each open bracket its line and what it holds so far
    for line, content in enumerate(text.split("\n"), 1):
        for token in _TOKEN.findall(content):
            if token == "(":
                stack.append((line, []))
            elif not stack:
                what = "closes nothing" if token == ")" else "stands outside of a tree"
                raise ValueError(f"{where}, line {line}: {shorten(token)!r} {what}")
            elif token == ")":
                start, items = stack.pop()
                tree = _from_items(items, f"{where}, line {start}", outermost=not stack)
                if stack:
                    stack[-1][1].append(tree)
                else:
                    yield tree
            else:
                stack[-1][1].append(token)
    if stack:
        raise ValueError(f"{where}, line {stack[-1][0]}: '(' is not closed")


def clean(tree: Tree) -> Tree | None:
    """The tree that parsers of the WSJ are trained and scored on; None if it has no word.

    Traces (-NONE-) are removed, and every constituent they leave empty; labels lose functional tags
    and indices (NP-SBJ-1 and NP=2 are NP). Tags, words and unary chains stay.
    """
    built: list[list[Tree]] = [[]]  # what is kept so far of each constituent that is open
    todo: list[tuple[Tree, bool]] = [(tree, False)]  # with whether its children are done
    while todo:  # not recursive: brackets may be nested as deep as a file is long
        node, done = todo.pop()
        if done:
            if children := tuple(built.pop()):
                category = _CATEGORY.match(node.label)
                built[-1].append(Tree(category[0] if category else node.label, children))
        elif node.word is not None:
            built[-1] += [node] * (node.label != TRACE)
        else:
            built.append([])
            todo.append((node, True))
            todo += [(child, False) for child in reversed(node.children)]
    return built[0][0] if built[0] else None


def linearize(tree: Tree, *, tagged: bool = False) -> str:
    """The linearized tree: `(LABEL`, `)LABEL`, and XX or a tag for each word; TOP is left out."""
    tokens: list[str] = []
    todo: list[Tree | str] = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            tokens.append(item)
        elif item.word is not None:
            tokens.append(item.label if tagged else TAG)
        else:
            if item.label != TOP:
                tokens.append(f"({item.label}")
                todo.append(f"){item.label}")
            todo += reversed(item.children)
    return " ".join(tokens)


class Reading(NamedTuple):
    """A tree from a model's output, and the number of repairs: 0 if the output was well formed."""

    tree: Tree
    num_repairs: int


def from_linear(
    tokens: str | Sequence[str],
    words: Sequence[str],
    tags: Sequence[str] | None = None,
    *,
    tagged: bool = False,
) -> Reading:
    """The tree over `words`, at least one, of a linearized tree; any output gives one.

    Repairs, each counted: a closing bracket closes what is open inside its own constituent, and is
    ignored where no constituent of its label is open; what is open at the end is closed; an XX
    beyond the last word, a constituent without words and a token that is none of these are dropped;
    a word without an XX becomes the last child of the last outermost constituent (which in gold
    trees nearly always has all words), or of TOP where there is none. In a `tagged` line any token
    that is no bracket stands where XX would. `tags`, if given, are put over the words.
    """
    if not words:
        raise ValueError("a tree has one word at least")
    pairs = zip([TAG] * len(words) if tags is None else tags, words, strict=True)
    leaves = [Tree(tag, word=word) for tag, word in pairs][::-1]  # the next word is the last one
    names_tag = tagged and tags is None
    stack: list[tuple[str, list[Tree]]] = [(TOP, [])]
    num_repairs = 0

    def close() -> int:
        label, children = stack.pop()
        if children:
            stack[-1][1].append(Tree(label, tuple(children)))
        return not children

    for token in tokens.split() if isinstance(tokens, str) else tokens:
        kind, label = token[:1], token[1:]
        if leaves and (kind not in ("(", ")") if tagged else token == TAG):
            leaf = leaves.pop()
            stack[-1][1].append(leaf._replace(label=token) if names_tag else leaf)
        elif kind == "(" and label not in ("", TOP):
            stack.append((label, []))
        elif kind == ")" and any(label == opened for opened, _ in stack[1:]):
            while stack[-1][0] != label:
                num_repairs += 1 + close()
            num_repairs += close()
        else:
            num_repairs += 1
    while len(stack) > 1:
        num_repairs += 1 + close()
    ((_, top),) = stack
    if leaves:
        num_repairs += len(leaves)
        last = top.pop() if top and top[-1].children else None
        missing = tuple(reversed(leaves))
        top += [Tree(last.label, last.children + missing)] if last else missing
    return Reading(Tree(TOP, tuple(top)), num_repairs)


def _from_items(items: list, where: str, *, outermost: bool) -> Tree:
    """The tree of a bracket with items that are strings (label, word) or trees."""
    match items:
        case [str(label), str(word)]:
            tree = Tree(label, word=word)
        case [str(label), Tree(), *_] if all(isinstance(item, Tree) for item in items[1:]):
            tree = Tree(label, tuple(items[1:]))
        case [Tree(), *_] if outermost and all(isinstance(item, Tree) for item in items):
            return Tree(TOP, tuple(items))
        case _:
            items = [i if isinstance(i, str) else f"({i.label} ...)" for i in items[:20]]
            shown = shorten(" ".join(items), 80)
            raise ValueError(f"{where}: ({shown}) is no tree; want (LABEL word) or (LABEL (...))")
    return Tree(TOP, (tree,)) if outermost and tree.label != TOP else tree
