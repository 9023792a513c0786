"""Sounds that only FFmpeg reads: what PyAV has encoded comes back; without it the error says what to install."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augmint as am
from augmint.core.errors import BadSample, UserError
from augmint.core.run import read_jsonl
from augmint.data import audio, ffmpeg
from augmint.data.audio import Sound
from voices import voice, write

CODERS = {
    ".g722": ("g722", "g722"),
    ".m4a": ("ipod", "aac"),
    ".aac": ("adts", "aac"),
    ".amr": ("amr", "libopencore_amrnb"),
}
LAG_S = {
    ".g722": 0.003,
    ".aac": 0.08,
    ".m4a": 0.08,
}  # of coders whose files do not say how much comes before the beginning


def encoded(path: Path, sound: Sound) -> Path:
    """A file of the ending's usual coder."""
    av: Any = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    container, coder = CODERS[path.suffix]
    layout = "mono" if sound.wave.shape[1] == 1 else "stereo"
    try:
        with av.open(str(path), "w", format=container) as out:
            stream = out.add_stream(coder, rate=sound.rate)
            stream.codec_context.layout = layout
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.wave.T), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sound.rate, 0
            store = av.AudioFifo()
            for part in av.AudioResampler(stream.codec_context.format, layout, sound.rate).resample(frame):
                store.write(part)
            while (part := store.read(stream.codec_context.frame_size or 320, partial=True)) is not None:
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this PyAV cannot write {coder}: {error}")
    return path


def likeness(a: np.ndarray, b: np.ndarray, most: int) -> tuple[float, int]:
    """The largest correlation of two sounds shifted by up to ``most`` samples, and the shift."""
    found = {}
    for lag in range(-most, most + 1):
        x, y = (a[lag:], b) if lag >= 0 else (a, b[-lag:])
        n = min(len(x), len(y))
        found[lag] = float(np.corrcoef(x[:n], y[:n])[0, 1])
    best = max(found, key=lambda lag: found[lag])
    return found[best], best


@pytest.mark.parametrize("suffix", CODERS)
def test_what_was_encoded_comes_back(suffix: str, tmp_path: Path) -> None:
    rate = 8000 if suffix == ".amr" else 16_000
    parts = [voice(v, f0=f, seconds=0.5, rate=rate).wave for v, f in (("ah", 110), ("ee", 150), ("oo", 190))]
    sound = Sound(np.concatenate(parts), rate)
    path = encoded(tmp_path / f"a{suffix}", sound)
    head, back = audio.header(path), audio.read(path)
    assert (head.rate, head.channels, head.format) == (rate, 1, suffix[1:].upper())
    assert back.rate == rate and back.wave.dtype == np.float32 and abs(head.seconds - 1.5) < 0.12
    alike, lag = likeness(back.wave[:, 0], sound.wave[:, 0], round(0.1 * rate))
    assert alike > (0.8 if suffix == ".amr" else 0.95)
    assert abs(lag) / rate <= LAG_S.get(suffix, 0.01)
    assert abs(np.square(back.wave).sum() / np.square(sound.wave).sum() - 1) < 0.15  # full scale is 1


def test_two_channels_stay_apart(tmp_path: Path) -> None:
    wave = np.concatenate([voice(seconds=1.0, rate=16_000).wave, np.zeros((16_000, 1), np.float32)], axis=1)
    back = audio.read(encoded(tmp_path / "a.m4a", Sound(wave, 16_000))).wave
    assert back.shape[1] == 2 and np.square(back[:, 0]).sum() > 1000 * np.square(back[:, 1]).sum()


def test_variants_are_written_as_wav_beside_the_originals(tmp_path: Path) -> None:
    for i in range(3):
        encoded(tmp_path / "in" / "ah" / f"{i}.g722", voice(f0=110 + 20 * i, seconds=0.5, rate=16_000))
    write(tmp_path / "in" / "ah" / "0.wav", voice(seconds=0.5, rate=16_000))
    am.augment(tmp_path / "in", out=tmp_path / "out", variants=1, workers=1)
    names = [row["file_name"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")]
    assert "ah/0.aug0.wav" in names and "ah/0.aug0.g722.wav" in names
    assert (tmp_path / "out" / "ah" / "1.g722").read_bytes() == (tmp_path / "in" / "ah" / "1.g722").read_bytes()
    more = am.read(tmp_path / "out")
    assert len(more.usable()) == 8 and not more.skipped


def test_damage_is_named(tmp_path: Path) -> None:
    pytest.importorskip("av")
    whole = encoded(tmp_path / "whole.m4a", voice(seconds=1.0, rate=16_000)).read_bytes()
    for name, data in (("empty.g722", b""), ("words.m4a", b"hello " * 100), ("cut.m4a", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadSample) as told:
            audio.read(tmp_path / name)
        assert told.value.where == str(tmp_path / name) and told.value.mend


def test_no_more_is_decoded_than_is_allowed(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.g722", voice(seconds=1.0, rate=16_000))
    with pytest.raises(BadSample, match="more than 8,000 values"):
        ffmpeg.decoded(path, most=8000)


def test_without_the_extra_the_error_has_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.g722").write_bytes(bytes(1000))
    with pytest.raises(
        UserError,
        match=r"\.g722 files are read with PyAV, which is not installed(.|\n)*pip install 'augmint\[speech\]'",
    ):
        am.read(tmp_path)
    write(tmp_path / "b.wav", voice())
    found = am.read(tmp_path)  # others are not lost for that
    assert found.ids == ("b.wav",) and found.skipped[0].mend == "pip install 'augmint[speech]'"


def test_pyav_is_loaded_only_for_its_files(tmp_path: Path) -> None:
    write(tmp_path / "b.wav", voice())
    code = f"import sys, augmint as am; am.read({str(tmp_path)!r}); print('av' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_opus_needs_no_extra(tmp_path: Path) -> None:
    sound = voice(seconds=1.0, rate=16_000)
    path = write(tmp_path / "a.opus", sound)
    assert audio.header(path).coding == "OPUS"
    assert likeness(audio.read(path).wave[:, 0], sound.wave[:, 0], 200)[0] > 0.95
    assert all(a == b for a, b in pairwise(audio.encode(sound, ".opus") for _ in range(3)))
