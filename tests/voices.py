"""Synthetic voices for tests: a buzz at the pitch of a voice, through two formants, which make a vowel of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from augmint.data import audio
from augmint.data.audio import Sound

VOWELS = {"ah": (700.0, 1200.0), "ee": (300.0, 2300.0), "oo": (350.0, 800.0)}


def voice(
    vowel: str = "ah", *, f0: float = 120.0, seconds: float = 0.4, rate: int = 8000, channels: int = 1, seed: int = 0
) -> Sound:
    """A vowel at a steady pitch that begins and ends softly, with a little breath in it."""
    t = np.arange(round(seconds * rate)) / rate
    hz = f0 * np.arange(1, int(min(0.45 * rate, 4000) / f0))
    level = sum(1 / (1 + ((hz - formant) / 80.0) ** 2) for formant in VOWELS[vowel]) + 0.01
    wave = (level[:, None] * np.sin(2 * np.pi * hz[:, None] * t + np.arange(len(hz))[:, None] ** 2)).sum(0)
    wave += 0.02 * np.abs(wave).max() * np.random.default_rng(seed).normal(size=len(t))
    wave *= np.sin(np.pi * (np.arange(len(t)) + 0.5) / len(t)) ** 0.5
    out = 0.5 * wave / np.abs(wave).max()
    return Sound(np.repeat(out[:, None], channels, axis=1).astype(np.float32), rate)


def phrase(seed: int, *, slower: float = 1.0, rate: int = 8000) -> Sound:
    """Three vowels in a row, each with a pitch and a length of its own; no two phrases are alike. ``slower``: all lengths times this."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(3):
        f0, seconds, level = rng.uniform(90, 220), rng.uniform(0.08, 0.24), rng.uniform(0.3, 1.0)
        part = voice(str(rng.choice(list(VOWELS))), f0=f0, seconds=slower * seconds, rate=rate, seed=seed)
        parts.append(np.float32(level) * part.wave)
    return Sound(np.concatenate(parts), rate)


def write(path: Path, sound: Sound, coding: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(audio.encode(sound, path.suffix, coding=coding))
    return path


def write_voices(root: Path, *, per_class: int = 12, rate: int = 8000) -> Path:
    """Class folders of two vowels, at several pitches and lengths."""
    rng = np.random.default_rng(0)
    for vowel in ("ah", "ee"):
        for i in range(per_class):
            f0, seconds = float(rng.uniform(90, 220)), float(rng.uniform(0.22, 0.32))
            write(root / vowel / f"{i:03d}.wav", voice(vowel, f0=f0, seconds=seconds, rate=rate, seed=i))
    return root


def pitch(wave: np.ndarray, rate: int) -> float:
    """The pitch of a steady voice in Hz, by the first strong peak of its autocorrelation (parabola through three points)."""
    x = wave - wave.mean()
    found = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * len(x))) ** 2)[: len(x)] / np.arange(len(x), 0, -1)
    low = int(rate / 500)
    at = low + int(np.argmax(found[low : int(rate / 60)] > 0.9 * found[low : int(rate / 60)].max()))
    while found[at + 1] > found[at]:
        at += 1
    a, b, c = found[at - 1 : at + 2]
    return float(rate / (at + 0.5 * (a - c) / (a - 2 * b + c)))
