"""Lines of text files as other tools count them, and one line for what is no UTF-8 text."""

import gzip
import io
import unicodedata

import pytest

from attn_research.data import files
from attn_research.data.download import find_data_dir
from attn_research.data.files import decode_lines, decompress, read_lines, user_path

MARK = b"\xef\xbb\xbf"


@pytest.fixture(params=["plain", "gzip"])
def write(request, tmp_path):
    """Writes a text file, plain or gzip."""

    def make(content: bytes):
        path = tmp_path / "a.txt"
        path.write_bytes(content if request.param == "plain" else gzip.compress(content))
        return path

    return make


def test_a_byte_order_mark_is_no_part_of_the_first_word(write):
    assert list(read_lines(write(MARK + b"the cat\nsat\n"))) == ["the cat", "sat"]
    assert list(read_lines(write(MARK))) == list(read_lines(write(b""))) == []
    assert list(read_lines(write(MARK + b"\n"))) == [""]
    # Elsewhere it is the character that it is.
    assert list(read_lines(write("a\n\ufeffb".encode()))) == ["a", "\ufeffb"]


@pytest.mark.parametrize(
    "separator", ["\u2028", "\u2029", "\x85", "\x1c", "\x1d", "\x1e", "\x0b", "\x0c", "\r"]
)
def test_only_a_newline_with_or_without_a_carriage_return_ends_a_line(write, separator):
    content = f"a{separator}b\r\n{separator}c\n\r\nd"
    assert list(read_lines(write(content.encode()))) == [f"a{separator}b", f"{separator}c", "", "d"]


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
def test_wide_encodings_are_named_with_the_way_out(write, encoding):
    for order in ("LE", "BE"):
        content = "\ufeffa b\nc\n".encode(f"{encoding}-{order}")
        with pytest.raises(ValueError, match=rf"a\.txt: {encoding} text; .*iconv -f {encoding}"):
            list(read_lines(write(content)))
        with pytest.raises(ValueError, match=r"a\.txt, line 1: .*U\+0000.* convert"):
            list(read_lines(write("a b\nc\n".encode(f"{encoding}-{order}"))))


@pytest.mark.parametrize("character", ["\0", "\ufdd0", "\ufdd1", "\ufdd2"])
def test_a_character_that_is_in_no_text_is_named_with_its_line(write, character):
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: .*U\+{ord(character):04X}"):
        list(read_lines(write(f"a\nb{character}\n".encode())))


def test_characters_are_left_as_they_are(write):
    composed, apart = (unicodedata.normalize(form, "é ü 각") for form in ("NFC", "NFD"))
    text = f"{composed} {apart} \x01\x07\x7f \u200d\ufffd ▁ @@ ▅"
    assert list(read_lines(write(text.encode()))) == [text]


def test_what_is_no_text_is_named_with_its_line(write, monkeypatch):
    with pytest.raises(ValueError, match=r"a\.txt, line 2: not UTF-8"):
        list(read_lines(write(b"a\n\xff\n")))
    monkeypatch.setattr(files, "MAX_LINE", 100)
    assert list(read_lines(write(b"a" * 99 + b"\n" + b"a" * 99)))
    with pytest.raises(ValueError, match=r"a\.txt, line 2: longer than 100 bytes"):
        list(read_lines(write(b"a\n" + b"a" * 101)))


def test_little_data_that_becomes_very_much_is_refused(monkeypatch):
    monkeypatch.setattr(files, "MAX_CONTENT", 1000)
    assert decompress(gzip.compress(bytes(1000)), "a.gz") == bytes(1000)
    with pytest.raises(ValueError, match=r"a\.gz: more than 1,000 bytes when decompressed"):
        decompress(gzip.compress(bytes(1001)), "a.gz")


def test_lines_of_a_stream_are_those_of_a_file():
    assert list(decode_lines(io.BytesIO(MARK + b"a\x1cb\r\nc"), "standard input")) == [
        "a\x1cb",
        "c",
    ]
    with pytest.raises(ValueError, match="standard input, line 1: not UTF-8"):
        list(decode_lines(io.BytesIO(b"\xff\n"), "standard input"))


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("a\n")
    assert list(read_lines("~/a.txt")) == ["a"]
    assert user_path("~/runs") == find_data_dir("~") / "runs"
    assert user_path("a/~").as_posix() == "a/~"
    # A user that there is not is a file that there is not, no failure of its own.
    with pytest.raises(FileNotFoundError, match="no such file: ~nobody-here/a"):
        list(read_lines("~nobody-here/a"))
