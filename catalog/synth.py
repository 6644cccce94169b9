"""A small additive synthesiser: notes in, 16-bit stereo out, the same samples on every machine.

Bit-exact by construction: sines come from a table rounded to 24 bits, and everything after it is element-wise
addition and multiplication of doubles in a fixed order, which IEEE 754 defines to the last bit whatever the width of
the processor's vectors. Library sines and dot products are not so defined, and are not used on samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 44_100
_TABLE_LENGTH = 4096

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """How a note sounds."""

    partials: tuple[float, ...]
    """Strength of the 1st, 2nd, … harmonic."""
    attack_s: float
    release_s: float
    decay: float
    """What is left of the sound after each second: 1.0 an organ, 0.2 a plucked string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    start_s: float
    length_s: float
    pitch: int
    """MIDI note number: 69 is a' at 440 Hz."""
    gain: float
    pan: float
    """0.0 left to 1.0 right."""
    instrument: Instrument


FLUTE = Instrument(partials=(1.0, 0.22, 0.06), attack_s=0.06, release_s=0.08, decay=0.75)
HARP = Instrument(partials=(1.0, 0.5, 0.3, 0.18, 0.1, 0.05), attack_s=0.004, release_s=0.05, decay=0.12)
ORGAN = Instrument(partials=(1.0, 0.6, 0.1, 0.35, 0.0, 0.12), attack_s=0.03, release_s=0.06, decay=0.95)
STRINGS = Instrument(partials=(1.0, 0.45, 0.3, 0.2, 0.12, 0.08), attack_s=0.18, release_s=0.22, decay=0.9)
BASS = Instrument(partials=(1.0, 0.7, 0.25, 0.1), attack_s=0.01, release_s=0.08, decay=0.35)
BELL = Instrument(partials=(1.0, 0.0, 0.4, 0.0, 0.0, 0.25, 0.0, 0.12), attack_s=0.002, release_s=0.1, decay=0.18)


@cache
def _wave(partials: tuple[float, ...]) -> Samples:
    """One period of the summed harmonics, peak about 1, and its first sample again at the end."""
    period = [0.0] * _TABLE_LENGTH
    for number, strength in enumerate(partials, start=1):
        for i in range(_TABLE_LENGTH):
            period[i] += strength * math.sin(2 * math.pi * number * i / _TABLE_LENGTH)
    # Rounding hides the last bits of the C library's sine, which differ between systems.
    scale = sum(partials)
    return np.array([round(value / scale * 2**24) / 2**24 for value in [*period, period[0]]])


@cache
def _decay_curve(decay: float, seconds: int) -> Samples:
    """decay ** t, once a 64th of a second, rounded like the wave."""
    return np.array([round(decay ** (i / 64) * 2**24) / 2**24 for i in range(64 * seconds + 2)])


@cache
def _voice(instrument: Instrument, pitch: int, length_frames: int) -> Samples:
    """One note at full gain, in mono. Cached: music repeats itself."""
    step = round(440 * 2 ** ((pitch - 69) / 12) * _TABLE_LENGTH / RATE_HZ * 2**20)
    phase = np.arange(length_frames, dtype=np.int64) * step
    whole, part = (phase >> 20) & (_TABLE_LENGTH - 1), (phase & (2**20 - 1)).astype(np.float64) / 2**20
    wave = _wave(instrument.partials)
    sound: Samples = wave[whole] + (wave[whole + 1] - wave[whole]) * part

    frames = np.arange(length_frames, dtype=np.float64)
    curve = _decay_curve(instrument.decay, length_frames // RATE_HZ + 1)
    position = frames * (64 / RATE_HZ)
    index = position.astype(np.int64)
    sound *= curve[index] + (curve[index + 1] - curve[index]) * (position - index)
    sound *= np.minimum(1.0, frames / (instrument.attack_s * RATE_HZ))
    sound *= np.minimum(1.0, (length_frames - frames) / (instrument.release_s * RATE_HZ))
    sound.flags.writeable = False
    return sound


def mix(notes: Iterable[Note], length_s: float) -> NDArray[np.int16]:
    """(frames, 2) 16-bit stereo at 44.1 kHz: all notes summed, with a short echo across the channels.

    What would be louder than full scale is brought below it as a whole, so that nothing clips.
    """
    frames = round(length_s * RATE_HZ)
    left, right = np.zeros(frames), np.zeros(frames)
    for note in notes:
        start = round(note.start_s * RATE_HZ)
        voice = _voice(note.instrument, note.pitch, round(note.length_s * RATE_HZ))[: max(0, frames - start)]
        left[start : start + len(voice)] += voice * (note.gain * (1.0 - note.pan))
        right[start : start + len(voice)] += voice * (note.gain * note.pan)
    echo = round(0.11 * RATE_HZ)
    dry_left = left.copy()
    left[echo:] += right[:-echo] * 0.22
    right[echo:] += dry_left[:-echo] * 0.22
    peak = max(float(np.abs(left).max()), float(np.abs(right).max()), 1e-9)
    scale = 0.85 * 32767 / peak
    return np.stack([np.rint(left * scale), np.rint(right * scale)], axis=1).astype(np.int16)
