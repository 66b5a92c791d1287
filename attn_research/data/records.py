"""Records: encoded sentence pairs on disk in sharded ArrayRecord files, for any corpus size.

A folder of records holds `records-00000.arrayrecord` and on, `lengths.npy` (uint16 [N, 2], source
and target lengths) and `metadata.json`. A record is little-endian: uint32 source length, then the
source ids, then the target ids, each uint16, or uint32 where a vocabulary has more than 65,536
ids, without EOS. The metadata is written last: a folder without it is unfinished.
"""

import bisect
import dataclasses
import hashlib
import itertools
import json
import operator
import shutil
import struct
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from attn_research.data.files import one_line, user_path, write_whole
from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import Ids, encode_stream
from attn_research.data.text.tokenizers import Tokenizer

_METADATA, _LENGTHS, _SHARD = "metadata.json", "lengths.npy", "records-{:05d}.arrayrecord"
_LETTERS = {"<u2": "H", "<u4": "I"}  # numpy's name of an id's type: the one of struct
# Records are too short to compress well: uncompressed, they are written 3 times as fast and are 1.1
# times as large.
_WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The metadata of a folder of records.

    `shards` has the number of pairs in each file, `left_out` the number of pairs that `max_words`
    excluded; `sha256` is that of all records in order; tokenizers are given by fingerprint.
    """

    languages: tuple[str, str]
    source_tokenizer: str
    target_tokenizer: str
    id_dtype: str
    max_words: int | None
    shards: tuple[int, ...]
    left_out: int
    sha256: str


def write_records(
    pairs: Iterable[Pair],
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    folder: str | Path,
    *,
    languages: tuple[str, str],
    max_words: int | None = None,
    shard_size: int = 1_000_000,
    num_workers: int = 0,
) -> Metadata:
    """Writes a stream of pairs, encoded, to a folder of records, in constant memory.

    `max_words` and `num_workers` are those of `encode_stream`. An unfinished folder is
    written anew, a finished one is a FileExistsError; an OSError names a folder without room or
    permission.
    """
    folder = user_path(folder)
    if shard_size < 1:
        raise ValueError(f"shard_size={shard_size}: a shard holds at least one record")
    if (folder / _METADATA).exists():
        raise FileExistsError(f"{folder} already holds records: remove it or name another folder")
    vocab_size = max(source_tokenizer.vocab_size, target_tokenizer.vocab_size)
    id_dtype = "<u2" if vocab_size <= 1 << 16 else "<u4"
    stream = encode_stream(
        pairs, source_tokenizer, target_tokenizer, max_words=max_words, num_workers=num_workers
    )
    left_out = 0
    with _Writer(folder, shard_size, _LETTERS[id_dtype]) as writer:
        for ids in stream:
            if ids is None:
                left_out += 1
            else:
                writer.write(*ids)
        if not writer.counts:
            raise ValueError(f"no pair to write: max_words={max_words} left out all {left_out}")
        writer.finish()
    metadata = Metadata(
        languages=languages,
        source_tokenizer=source_tokenizer.fingerprint,
        target_tokenizer=target_tokenizer.fingerprint,
        id_dtype=id_dtype,
        max_words=max_words,
        shards=tuple(writer.counts),
        left_out=left_out,
        sha256=writer.digest.hexdigest(),
    )
    write_whole(folder / _METADATA, json.dumps(dataclasses.asdict(metadata), indent=2).encode())
    return metadata


class Records(Sequence[Ids]):
    """A finished folder of records: pair i is (source ids, target ids), read on access.

    `lengths` (uint16 [N, 2]) is memory-mapped. Threads may share one object; it pickles as its
    folder, so that worker processes open the files for themselves.
    """

    def __init__(self, folder: str | Path):
        # ArrayRecord's own data source starts a parallel read for each record: a hundred times as
        # slow as a seek of one reader. A reader has one position, hence the lock.
        from array_record.python.array_record_module import (  # ty: ignore[import-not-found]
            ArrayRecordReader,
        )

        self._folder = user_path(folder)
        self.metadata = _read_metadata(self._folder)
        try:
            self.lengths = np.load(self._folder / _LENGTHS, mmap_mode="r")
            self._readers = [
                ArrayRecordReader(
                    str(self._folder / _SHARD.format(shard)),
                    options="readahead_buffer_size:0,max_parallelism:0",
                    file_reader_buffer_size=4096,
                )
                for shard in range(len(self.metadata.shards))
            ]
            counts = tuple(reader.num_records() for reader in self._readers)
        except Exception as error:  # NumPy and ArrayRecord raise many kinds for damaged files
            raise self._damaged(one_line(error)) from None
        lengths = self.lengths.shape, self.lengths.dtype
        if counts != self.metadata.shards or lengths != ((sum(counts), 2), np.uint16):
            raise self._damaged(
                f"{sum(self.metadata.shards)} pairs promised, {sum(counts)} records and lengths "
                f"of {lengths[1]} {lengths[0]} found"
            )
        self._starts = list(itertools.accumulate(counts, initial=0))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: SupportsIndex) -> Ids:
        index = range(len(self))[operator.index(index)]
        shard = bisect.bisect_right(self._starts, index) - 1
        try:
            with self._lock:
                self._readers[shard].seek(index - self._starts[shard])
                record = self._readers[shard].read()
            source_length = int.from_bytes(record[:4], "little")
            ids = np.frombuffer(record, self.metadata.id_dtype, offset=4).astype(np.int32)
        except Exception as error:  # ArrayRecord raises many kinds for damaged files
            raise self._damaged(f"record {index}: {one_line(error)}") from None
        if [source_length, len(ids) - source_length] != self.lengths[index].tolist():
            raise self._damaged(f"record {index} has other lengths than {_LENGTHS} says")
        return ids[:source_length], ids[source_length:]

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(f"{self._folder} holds damaged records: {reason}; write them again")

    def __reduce__(self):
        return Records, (self._folder,)

    def __repr__(self) -> str:
        return f"Records({str(self._folder)!r})"


def _read_metadata(folder: Path) -> Metadata:
    """The metadata of a finished folder; a ValueError where they are damaged."""
    path = folder / _METADATA
    if not path.is_file():
        raise FileNotFoundError(
            f"no finished records in {folder}: {_METADATA} is missing; write them again"
        )
    try:
        fields = json.loads(path.read_bytes())
        fields |= {name: tuple(fields[name]) for name in ("languages", "shards")}
        found = Metadata(**fields)
        if found.id_dtype not in _LETTERS:
            raise ValueError(f"id_dtype={found.id_dtype!r}")
        if not all(type(count) is int and count > 0 for count in found.shards):
            raise ValueError(f"shards={found.shards}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = one_line(error)
        raise ValueError(f"{path} does not describe records ({reason}): write them again") from None
    return found


class _Writer:
    """A writer of records and lengths to a folder, one ArrayRecord file after another."""

    def __init__(self, folder: Path, shard_size: int, letter: str):
        self._folder, self._shard_size, self._letter = folder, shard_size, letter
        self._shard, self.counts, self.digest = None, [], hashlib.sha256()
        with self._clear_error():
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(_SHARD.replace("{:05d}", "*")):
                leftover.unlink()
            self._lengths = (folder / f"{_LENGTHS}.part").open("wb")

    def write(self, source: list[int], target: list[int]) -> None:
        ids = source + target
        record = struct.pack(f"<I{len(ids)}{self._letter}", len(source), *ids)
        with self._clear_error():
            if not self.counts or self.counts[-1] == self._shard_size:
                self._start_shard()
            self._shard.write(record)
            self._lengths.write(struct.pack("<HH", len(source), len(target)))
        self.digest.update(record)
        self.counts[-1] += 1

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error) -> None:
        with suppress(OSError):  # of a full disk, which was reported already
            self._lengths.close()

    def finish(self) -> None:
        """Closes the last shard and writes the lengths, whose number the header needs."""
        header = {"descr": "<u2", "fortran_order": False, "shape": (sum(self.counts), 2)}
        with self._clear_error():
            self._shard.close()
            self._lengths.close()
            part = Path(self._lengths.name)
            with part.open("rb") as raw, (self._folder / _LENGTHS).open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                shutil.copyfileobj(raw, file)
            part.unlink()

    def _start_shard(self) -> None:
        from array_record.python.array_record_module import (  # ty: ignore[import-not-found]
            ArrayRecordWriter,
        )

        if self._shard is not None:
            self._shard.close()
        path = self._folder / _SHARD.format(len(self.counts))
        self._shard = ArrayRecordWriter(str(path), _WRITER_OPTIONS)
        self.counts.append(0)

    @contextmanager
    def _clear_error(self) -> Generator[None]:
        """One clear OSError for a failed write, in place of ArrayRecord's own."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"cannot write records to {self._folder} ({error}); "
                f"free space there or name another folder"
            ) from error
