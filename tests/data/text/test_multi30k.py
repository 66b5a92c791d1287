"""Multi30k, the folder it is looked for in, and its download, from a server on this machine."""

import functools
import gzip
import hashlib
import http.server
import threading

import pytest

from attn_research.data.download import fetch, find_data_dir
from attn_research.data.text import multi30k
from attn_research.data.text.multi30k import Multi30k

ENGLISH = "two men walk .\na dog  sleeps .\nhe sings .\n"
GERMAN = "zwei männer gehen .\nein hund schläft .\ner singt .\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small(monkeypatch):
    """Makes the package expect a validation set of three pairs."""
    for language, text in (("en", ENGLISH), ("de", GERMAN)):
        digests = sha256(text.encode()), sha256(text.upper().encode())
        monkeypatch.setitem(multi30k._SHA256, f"val.{language}", digests)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the small validation set as the repository lays it out: tok plain, raw gzip."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "repository"
    for language, text in (("en", ENGLISH), ("de", GERMAN)):
        for folder in ("tok", "raw"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / f"tok/val.lc.norm.tok.{language}").write_bytes(text.encode())
        (root / f"raw/val.{language}.gz").write_bytes(gzip.compress(text.upper().encode()))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield root, f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("text", multi30k.TEXTS)
def test_download_then_local(tmp_path, small, server, text):
    _, url = server
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    corpus = Multi30k(("de", "en"), data_dir, text=text, url=url)
    expected = ("er singt .", "he sings .")
    if text == "raw":
        expected = tuple(side.upper() for side in expected)
    assert corpus.split("val")[2][:2] == expected
    offline = Multi30k(("de", "en"), data_dir, text=text, url="http://127.0.0.1:1")
    assert offline.split("dev") == corpus.split("val")
    assert not list(data_dir.rglob(".*"))


def test_join_keeps_the_rest(tmp_path, small, server):
    corpus = Multi30k(data_dir=tmp_path, join=2, url=server[1])
    pairs = corpus.split("val")
    assert pairs[0].source == "two men walk . a dog sleeps ."
    assert pairs[0].target == "zwei männer gehen . ein hund schläft ."
    assert pairs[1][:2] == ("he sings .", "er singt .")
    assert corpus.fingerprint("val") != Multi30k(data_dir=tmp_path).fingerprint("val")


def test_wrong_checksum_leaves_no_file(tmp_path, small, server):
    root, url = server
    (root / "tok/val.lc.norm.tok.en").write_text("something else\n")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with pytest.raises(ValueError, match=r"val\.lc\.norm\.tok\.en.*SHA-256 \w{64} and should have"):
        Multi30k(data_dir=data_dir, url=url).split("val")
    assert not list(data_dir.rglob("*"))


def test_a_wrong_local_file_is_refused(tmp_path, small):
    path = tmp_path / "multi30k" / "val.en.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"something else\n"))
    with pytest.raises(ValueError, match=r"multi30k/val\.en\.gz.*SHA-256"):
        Multi30k(data_dir=tmp_path, text="raw").split("val")
    path.write_bytes(gzip.compress(ENGLISH.encode())[:-5])
    with pytest.raises(ValueError, match=r"multi30k/val\.en\.gz.*damaged"):
        Multi30k(data_dir=tmp_path, text="raw").split("val")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "file:///nowhere", "/missing"])
def test_unreachable_says_what_to_do(tmp_path, server, url):
    url = server[1] + url if url == "/missing" else url
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded.*--data_dir or ATTN_DATA"):
        Multi30k(data_dir=tmp_path, url=url).split("train")


def test_fetch_into_unwritable_folder(tmp_path, server):
    (tmp_path / "file").write_text("in the way")
    url = f"{server[1]}/tok/val.lc.norm.tok.en"
    with pytest.raises(OSError, match=r"cannot write .*name another folder"):
        fetch(url, tmp_path / "file" / "val.en", sha256(ENGLISH.encode()))


def test_find_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    assert find_data_dir() == find_data_dir("") == tmp_path
    assert find_data_dir(tmp_path.parent) == tmp_path.parent
    with pytest.raises(FileNotFoundError, match="--data_dir or ATTN_DATA_DIR"):
        find_data_dir(tmp_path / "misspelt")
    monkeypatch.delenv("ATTN_DATA_DIR")
    assert find_data_dir().name == "attn_research"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"languages": ("en", "cs")}, "two of en, de, fr"),
        ({"languages": ("en", "en")}, "two of en, de, fr"),
        ({"text": "tok"}, "has lc.norm.tok, raw"),
        ({"join": 0}, "join=0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Multi30k(**arguments)
    with pytest.raises(ValueError, match=r"no split 'test'.*test_2016_flickr"):
        Multi30k().split("test")


def test_real_counts(data_dir):
    counts = {"train": 29_000, "val": 1_014, "test_2016_flickr": 1_000}
    counts |= {"test_2017_flickr": 1_000, "test_2017_mscoco": 461}
    for languages in (("en", "de"), ("fr", "en")):
        corpus = Multi30k(languages, data_dir)
        assert {split: len(corpus.split(split)) for split in counts} == counts
    pairs = Multi30k(("en", "de"), data_dir).split("test_2016_flickr")
    assert sum(len(pair.target.split()) for pair in pairs) == 12_103
    joined = Multi30k(("en", "de"), data_dir, join=7).split("test_2016_flickr")
    assert len(joined) == 143
    assert sum(len(pair.target.split()) for pair in joined) == 12_103


@pytest.mark.parametrize("split", multi30k.SPLITS)
def test_every_checksum(data_dir, split):
    for text in multi30k.TEXTS:
        for languages in (("en", "de"), ("de", "fr")):
            pairs = Multi30k(languages, data_dir, text).split(split)
            assert all(pair.source and pair.target for pair in pairs)
