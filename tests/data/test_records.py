"""Records on disk and pairs in memory agree, and a folder is whole, unfinished or an error."""

import hashlib
import itertools
import json
import pickle
import resource
import struct
import threading

import grain
import numpy as np
import pytest

from attn_research.data.records import Records, write_records
from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import encode_pairs, encode_stream
from attn_research.data.text.tokenizers import SubwordTokenizer, WordTokenizer

LANGUAGES = ("en", "de")
PAIRS = [
    Pair("a b c", "x y"),
    Pair("", "x"),
    Pair("c c b a e", "z"),
    Pair("a", "y y y x z x y"),
    Pair("b a", ""),
    Pair("d", "w"),
    Pair("c b", "y x z"),
]


def make_tokenizers(pairs=PAIRS):
    return (
        WordTokenizer.build(pair.source for pair in pairs),
        WordTokenizer.build((pair.target for pair in pairs), language="de"),
    )


def write(folder, pairs=PAIRS, **options):
    return write_records(pairs, *make_tokenizers(), folder, languages=LANGUAGES, **options)


def assert_same(found, expected):
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    assert found.lengths.dtype == expected.lengths.dtype == np.uint16
    for i in [*range(len(found)), -1]:
        for ours, theirs in zip(found[i], expected[i], strict=True):
            assert ours.dtype == theirs.dtype == np.int32
            np.testing.assert_array_equal(ours, theirs)


def test_ids_by_hand():
    source, target = make_tokenizers()
    encoded = encode_pairs(PAIRS, source, target)
    assert source.shortlist == ("a", "b", "c", "d", "e")
    assert target.shortlist == ("y", "x", "z", "w")
    assert len(encoded) == 7
    assert [side.tolist() for side in encoded[0]] == [[4, 5, 6], [5, 4]]
    assert [side.tolist() for side in encoded[1]] == [[], [5]]
    assert encoded.lengths.tolist() == [[3, 2], [0, 1], [5, 1], [1, 7], [2, 0], [1, 1], [2, 3]]
    with pytest.raises(IndexError):
        encoded[7]


@pytest.mark.parametrize("shard_size", [2, 7, 100])
def test_records_are_the_pairs(tmp_path, shard_size):
    metadata = write(tmp_path / "records", shard_size=shard_size)
    records = Records(tmp_path / "records")
    assert_same(records, encode_pairs(PAIRS, *make_tokenizers()))
    assert metadata == records.metadata
    assert metadata.shards == {2: (2, 2, 2, 1), 7: (7,), 100: (7,)}[shard_size]
    assert len(list((tmp_path / "records").glob("*.arrayrecord"))) == len(metadata.shards)
    assert isinstance(records.lengths, np.memmap)
    with pytest.raises(IndexError):
        records[7]
    assert [len(source) for source, _ in records] == records.lengths[:, 0].tolist()


def test_record_layout(tmp_path):
    metadata = write(tmp_path, PAIRS[:1])
    record = struct.pack("<I5H", 3, 4, 5, 6, 5, 4)
    assert metadata.id_dtype == "<u2"
    assert metadata.sha256 == hashlib.sha256(record).hexdigest()
    source, target = make_tokenizers()
    assert metadata.source_tokenizer == source.fingerprint
    assert metadata.target_tokenizer == target.fingerprint
    assert metadata.languages == LANGUAGES


def test_large_vocabulary_takes_wider_ids(tmp_path):
    source = WordTokenizer(tuple(f"w{i}" for i in range(70_000)))
    pairs = [Pair("w69999 w0", "w1")]
    metadata = write_records(pairs, source, source, tmp_path, languages=LANGUAGES)
    assert metadata.id_dtype == "<u4"
    assert [side.tolist() for side in Records(tmp_path)[0]] == [[70_003, 4], [5]]


def test_max_words(tmp_path):
    """Longer pairs and pairs empty on a side are left out, on disk as in memory."""
    metadata = write(tmp_path, max_words=3)
    assert (metadata.shards, metadata.left_out, metadata.max_words) == ((3,), 4, 3)
    kept = [PAIRS[0], PAIRS[5], PAIRS[6]]
    assert_same(Records(tmp_path), encode_pairs(kept, *make_tokenizers()))
    assert_same(Records(tmp_path), encode_pairs(PAIRS, *make_tokenizers(), max_words=3))


def test_max_words_counts_words_not_subwords():
    tokenizer = SubwordTokenizer.train(["abcdefgh ijk"], vocab_size=16)
    pairs = [Pair("abcdefgh ijk", "ijk"), Pair("a b c", "ijk")]
    encoded = encode_pairs(pairs, tokenizer, tokenizer, max_words=2)
    assert len(encoded) == 1 and encoded.lengths[0, 0] > 2


def test_workers_give_the_same_records(tmp_path):
    source, target = make_tokenizers()
    moses = WordTokenizer(source.shortlist, moses=True), target
    here = list(encode_stream(PAIRS * 30, *moses, max_words=4))
    apart = list(encode_stream(PAIRS * 30, *moses, max_words=4, num_workers=2, chunk_size=13))
    assert here == apart and len(here) == 210
    subwords = SubwordTokenizer.train([pair.source for pair in PAIRS], vocab_size=12)
    options = {"languages": LANGUAGES, "shard_size": 3}
    one = write_records(PAIRS, subwords, target, tmp_path / "0", **options)
    two = write_records(PAIRS, subwords, target, tmp_path / "1", num_workers=1, **options)
    assert one == two


def test_unfinished_folder_is_started_afresh(tmp_path):
    def broken():
        yield from PAIRS * 2_000
        raise RuntimeError("the corpus broke")

    with pytest.raises(RuntimeError, match="the corpus broke"):
        write(tmp_path, broken(), shard_size=3_000)
    assert list(tmp_path.glob("*.arrayrecord"))
    with pytest.raises(FileNotFoundError, match=r"no finished records.*write them again"):
        Records(tmp_path)
    (tmp_path / "notes.txt").write_text("not ours")
    write(tmp_path)
    assert_same(Records(tmp_path), encode_pairs(PAIRS, *make_tokenizers()))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"records-00000.arrayrecord", "lengths.npy", "metadata.json", "notes.txt"}


def test_finished_folder_is_kept(tmp_path):
    write(tmp_path)
    with pytest.raises(FileExistsError, match="already holds records"):
        write(tmp_path, PAIRS[:1])
    assert len(Records(tmp_path)) == 7


def test_a_full_disk_gives_a_one_line_error(tmp_path):
    """A limit on file size stands in for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write records to .*File too large.*free space"):
            write(tmp_path, PAIRS * 9_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "metadata.json").exists()


def test_write_errors(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write records to .*name another folder"):
        write(tmp_path / "file" / "records")
    with pytest.raises(ValueError, match="max_words=1 left out all 2"):
        write(tmp_path / "none", PAIRS[:2], max_words=1)
    with pytest.raises(ValueError, match="shard_size=0"):
        write(tmp_path / "none", shard_size=0)
    with pytest.raises(ValueError, match=r"70000 source and 1 target ids .*starts 'a a a"):
        write(tmp_path / "none", [Pair("a " * 70_000, "x")])
    assert not (tmp_path / "none" / "metadata.json").exists()


@pytest.mark.parametrize("damage", ["shard cut", "shard missing", "lengths cut", "count"])
def test_damaged_records_are_refused(tmp_path, damage):
    write(tmp_path, PAIRS * 50, shard_size=200)
    shard, lengths = tmp_path / "records-00001.arrayrecord", tmp_path / "lengths.npy"
    if damage == "shard missing":
        shard.unlink()
    elif damage == "count":
        fields = json.loads((tmp_path / "metadata.json").read_text()) | {"shards": [200, 149]}
        (tmp_path / "metadata.json").write_text(json.dumps(fields))
    else:
        path = shard if damage == "shard cut" else lengths
        path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="holds damaged records"):
        Records(tmp_path)


def test_threads_share_a_reader(tmp_path):
    write(tmp_path, PAIRS * 40, shard_size=100)
    records, expected = Records(tmp_path), encode_pairs(PAIRS, *make_tokenizers())
    wrong = []

    def read(seed):
        for i in np.random.default_rng(seed).integers(len(records), size=300):
            if records[i][0].tolist() != expected[i % 7][0].tolist():
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_records_feed_grain_and_pickle(tmp_path):
    write(tmp_path)
    records = pickle.loads(pickle.dumps(Records(tmp_path)))
    assert repr(records) == f"Records({str(tmp_path)!r})"
    lengths = [len(target) for _, target in grain.MapDataset.source(records).seed(3).shuffle()]
    assert sorted(lengths) == sorted(records.lengths[:, 1].tolist())


@pytest.mark.parametrize(("num_workers", "ahead"), [(0, 10), (1, 20)])
def test_stream_holds_few_pairs(num_workers, ahead):
    """However long the corpus, no more pairs are taken from it than the chunks in flight hold."""
    taken = 0

    def endless():
        nonlocal taken
        for pair in itertools.cycle(PAIRS):
            taken += 1
            yield pair

    options = {"num_workers": num_workers, "chunk_size": 10}
    stream = encode_stream(endless(), *make_tokenizers(), **options)
    for given in range(1, 200):
        next(stream)
        assert taken <= given + ahead
    stream.close()
