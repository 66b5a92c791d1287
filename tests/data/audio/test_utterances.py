"""Words, strings joined from them with their times, and folders of sounds."""

import numpy as np
import pytest
import soundfile

from attn_research.data.audio.files import RATE
from attn_research.data.audio.folders import read_classes, read_transcripts
from attn_research.data.audio.fsdd import load_fsdd
from attn_research.data.audio.tones import SPEAKERS, WORDS, make_recordings
from attn_research.data.audio.utterances import Joined, Recordings, hold_out


def recordings(count=12):
    sounds = [np.full(400 * (1 + i % 3), 0.1 * (i + 1), np.float32) for i in range(count)]
    return Recordings(sounds, [f"w{i}" for i in range(count)], ["ab"[i % 2] for i in range(count)])


def test_an_epoch_holds_every_recording_once_and_is_a_function_of_the_seed():
    data = recordings()
    epochs = [[data.draw(3, n).text for n in range(start, start + 12)] for start in (0, 12)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(data.texts) and epochs[0] != epochs[1]
    assert [data.draw(3, n).text for n in range(12)] == epochs[0]
    assert [data.draw(4, n).text for n in range(12)] != epochs[0]


def test_a_string_holds_its_words_where_its_times_say():
    joined = Joined(recordings(), 40, 4, 0.9)
    lengths = set()
    for index in range(len(joined)):
        samples, text, times = joined[index]
        words = text.split()
        lengths.add(len(words))
        numbers = [int(word[1:]) for word in words]
        assert len({number % 2 for number in numbers}) == 1  # of one speaker
        assert len(samples) / RATE <= 0.9 + 1e-6 and len(times) == len(words)
        silent = np.ones(len(samples), bool)
        for number, (begin, end) in zip(numbers, np.rint(times * RATE).astype(int), strict=True):
            np.testing.assert_array_equal(samples[begin:end], joined.words.sounds[number])
            silent[begin:end] = False
        assert not samples[silent].any()
    assert lengths == {1, 2, 3, 4}
    assert joined.draw(0, 5).text == joined.draw(0, 5).text != joined.draw(1, 5).text
    assert joined.texts == [joined[i].text for i in range(40)]
    with pytest.raises(IndexError):
        joined[40]
    assert Joined(recordings(), 40, 4, 0.9, 1).texts != joined.texts
    with pytest.raises(ValueError, match=r"'w2' lasts 0.07 seconds, .* has room for 0.05"):
        Joined(recordings(), 40, 4, 0.65)


def test_built_in_words_are_the_same_each_time_and_differ_by_split():
    one, again, other = (make_recordings(split, 90) for split in ("train", "train", "test"))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.texts[:10] == list(WORDS) and len(set(one.speakers)) == SPEAKERS
    assert all(0.2 < len(sound) / RATE < 0.5 for sound in one.sounds)
    assert all(np.isfinite(sound).all() for sound in one.sounds)


def test_a_speaker_held_out_is_in_test_alone():
    splits = {"train": recordings(8), "dev": recordings(4), "test": recordings(6)}
    found = hold_out(splits, 2)
    assert set(found["test"].speakers) == {"b"} and len(found["test"]) == 9
    assert set(found["train"].speakers) == set(found["dev"].speakers) == {"a"}
    with pytest.raises(ValueError, match="--held_out_speaker=3: the speakers are 1 a, 2 b"):
        hold_out(splits, 3)


def test_digits_are_split_as_officially(data_dir):
    found = load_fsdd(str(data_dir))
    assert {split: len(each) for split, each in found.items()} == {
        "train": 2520, "dev": 180, "test": 300,
    }  # fmt: skip
    for split in found.values():
        assert len(set(split.texts)) == 10 and len(set(split.speakers)) == 6
    seconds = [len(sound) / RATE for split in found.values() for sound in split.sounds]
    assert 0.13 < min(seconds) < 0.15 and 2.2 < max(seconds) < 2.3
    assert sum(seconds) == pytest.approx(10_498_424 / 8000, abs=0.2)


def packed(**changes):
    arrays = dict(
        audio=np.arange(40, dtype=np.int16),
        offsets=np.array([0, 10, 20, 40]),
        labels=np.array([0, 1, 9]),
        speakers=np.array([0, 0, 1]),
        index=np.array([0, 5, 8]),
        speaker_names=np.array(["ann", "bob"]),
    )
    return arrays | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": np.zeros(40)}, "audio is float64"),
        ({"offsets": np.array([0, 20, 10, 40])}, "offsets that do not fit"),
        ({"offsets": np.array([0, 10, 10, 40])}, "recording 1 of .* is empty"),
        ({"offsets": np.array([0, 10, 20, 41])}, "offsets that do not fit"),
        ({"labels": np.array([0, 1, 10])}, "labels is int64"),
        ({"labels": np.array([0, 1])}, r"labels is int64 \(2,\)"),
        ({"speakers": np.array([0, 0, 2])}, "speakers is int64"),
        ({"speaker_names": np.array([1, 2])}, "speaker_names is int64"),
    ],
)
def test_damaged_digits_are_named(tmp_path, changes, message):
    path = tmp_path / "fsdd" / "fsdd.npz"
    path.parent.mkdir()
    np.savez(path, **packed())
    found = load_fsdd(str(tmp_path))
    assert [found[split].texts for split in found] == [["nine"], ["one"], ["zero"]]
    assert found["train"].speakers == ["bob"]
    path.unlink()
    path = tmp_path / "other" / "fsdd" / "fsdd.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **packed(**changes))
    with pytest.raises(ValueError, match=message):
        load_fsdd(str(tmp_path / "other"))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="is not a file of arrays audio"):
        load_fsdd(str(tmp_path / "other"))


def write(folder, *names, seconds=0.1):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.full(round(RATE * seconds), 0.01 * (number + 1), np.float32)
        soundfile.write(path, samples, RATE, subtype="FLOAT")


def test_a_folder_of_classes(tmp_path):
    names = [f"train/{word}/{i}.wav" for word in ("no", "yes") for i in range(6)]
    write(tmp_path, *names, "test/yes/1.wav", "test/no/2.WAV", "train/yes/.hidden.wav")
    corpus = read_classes(tmp_path)
    assert [len(each) for each in corpus] == [11, 1, 2]
    assert sorted(corpus.test.texts) == ["no", "yes"]
    write(tmp_path, "test/maybe/1.wav")
    with pytest.raises(ValueError, match=r"holds the class maybe, which .*train does not"):
        read_classes(tmp_path)
    write(tmp_path, "train/loose.wav")
    with pytest.raises(ValueError, match=r"loose.wav stands in no folder of a class"):
        read_classes(tmp_path)
    (tmp_path / "train" / "yes" / "notes.txt").write_text("x")
    (tmp_path / "train" / "loose.wav").unlink()
    with pytest.raises(ValueError, match=r"notes.txt is no sound file"):
        read_classes(tmp_path)
    with pytest.raises(FileNotFoundError, match="no sounds of train"):
        read_classes(tmp_path / "test")


def test_a_folder_with_transcripts(tmp_path, caplog):
    write(tmp_path, *(f"{i}.wav" for i in range(12)), "sub/extra.wav")
    lines = [f"{i}.wav\tsay  number {i}\n" for i in range(12)]
    (tmp_path / "train.tsv").write_text("".join(lines[:10]))
    (tmp_path / "test.tsv").write_text("".join(lines[10:]))
    corpus = read_transcripts(tmp_path)
    assert [len(each) for each in corpus] == [9, 1, 2]
    assert corpus.test.texts == ["say number 10", "say number 11"]
    assert "sub/extra.wav" in caplog.text
    for line, error, words in (
        ("1.wav say\n", ValueError, "test.tsv, line 1: give FILE, a tab and what is said"),
        ("1.wav\t \n", ValueError, "test.tsv, line 1: give FILE"),
        ("99.wav\tsay\n", FileNotFoundError, "test.tsv, line 1: no such file"),
        ("1.wav\tsay\n", ValueError, "two lines name 1.wav"),
        ("\n../1.wav\tsay\n", ValueError, r"test.tsv, line 2: \.\./1\.wav is not below"),
    ):
        (tmp_path / "test.tsv").write_text(line)
        with pytest.raises(error, match=words):
            read_transcripts(tmp_path)
    (tmp_path / "test.tsv").write_text("".join(lines[10:]))
    (tmp_path / "3.wav").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"3.wav is no sound file that can be read"):
        read_transcripts(tmp_path)
