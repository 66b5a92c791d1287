"""Sound files of every supported kind, and the line that each other one is refused with."""

import numpy as np
import pytest
import soundfile

from attn_research.data.audio.files import MAX_SECONDS, RATE, AudioFiles, normalize, read_audio

TONE = 440.0


def tone(rate, seconds=0.5, channels=1):
    """A tone of half the range in the first channel, silence in the others."""
    time = np.arange(round(rate * seconds)) / rate
    silent = np.zeros((len(time), channels - 1))
    return np.concatenate([0.5 * np.sin(2 * np.pi * TONE * time)[:, None], silent], axis=1)


@pytest.mark.parametrize(
    ("subtype", "rate", "channels", "accuracy"),
    [
        ("PCM_U8", 8_000, 1, 2e-2),
        ("PCM_16", 16_000, 1, 1e-4),
        ("PCM_24", 44_100, 2, 2e-3),
        ("PCM_32", 48_000, 3, 2e-3),
        ("FLOAT", 22_050, 1, 2e-3),
        ("DOUBLE", 16_000, 2, 1e-6),
        ("ULAW", 8_000, 1, 2e-2),
    ],
)
def test_every_kind_becomes_one_channel_at_16_khz(tmp_path, subtype, rate, channels, accuracy):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, channels=channels), rate, subtype=subtype)
    found = read_audio(path)
    expected = tone(RATE)[:, 0] / channels
    assert found.dtype == np.float32 and len(found) == len(expected)
    inner = slice(200, -200)  # a filter rings at the ends
    np.testing.assert_allclose(found[inner], expected[inner], atol=accuracy)
    soundfile.write(tmp_path / "tone.flac", tone(rate), rate, format="FLAC")
    np.testing.assert_allclose(
        read_audio(tmp_path / "tone.flac")[inner], tone(RATE)[inner, 0], atol=2e-3
    )


def test_what_is_refused_is_named_with_the_way_out(tmp_path):
    def written(name, samples, rate=RATE, **options):
        soundfile.write(tmp_path / name, samples, rate, **options)
        return tmp_path / name

    whole = written("whole.wav", tone(RATE))
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[:-4000])
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"RIFF" + bytes(range(200)))
    bad = tone(RATE)
    bad[7] = np.nan
    cases = {
        tmp_path / "nowhere.wav": (FileNotFoundError, "no such file"),
        cut: (ValueError, "is cut off: its header announces more samples"),
        noise: (ValueError, "is no sound file that can be read .* convert it to WAV"),
        written("empty.wav", np.zeros(0)): (ValueError, "is empty"),
        written("nan.wav", bad, subtype="FLOAT"): (ValueError, "samples that are no numbers"),
        written("slow.wav", tone(4_000), 4_000): (ValueError, "4,000 samples a second"),
        written("fast.wav", tone(96_000), 96_000): (ValueError, "8,000 to 48,000 are read"),
        written("tone.aiff", tone(RATE)): (ValueError, "is a AIFF file"),
    }
    for path, (error, words) in cases.items():
        with pytest.raises(error, match=rf"{path.name}.*{words}|{words}.*{path.name}") as caught:
            read_audio(path)
        assert "\n" not in str(caught.value)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * 4, np.int16), 8000)
    monkeypatch.setattr("attn_research.data.audio.files.MAX_SECONDS", 3)
    with pytest.raises(ValueError, match="lasts 4 seconds, more than 3: cut it"):
        read_audio(path)
    soundfile.write(tmp_path / "wide.flac", np.zeros((8000, 8), np.int16), 8000)
    monkeypatch.setattr("attn_research.data.audio.files.MAX_BYTES", 200_000)
    with pytest.raises(ValueError, match="has 256,000 bytes of samples in 8 channels, more than"):
        read_audio(tmp_path / "wide.flac")
    monkeypatch.setattr("attn_research.data.audio.files.MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes, more than 1,000: cut it"):
        read_audio(path)
    assert MAX_SECONDS == 3600


def test_normalized_files_peak_at_1_and_silence_stays(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE)
    files = AudioFiles([tmp_path / "a.wav"] * 2)
    assert len(files) == 2 and np.abs(files[1]).max() == pytest.approx(1)
    assert not normalize(np.zeros(5, np.float32)).any()
