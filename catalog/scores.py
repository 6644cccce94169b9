"""Six short pieces for the demonstration, written down as data and rules. Ours, dedicated to nobody's rights (CC0).

A score is a list of notes; a pitch is a MIDI number (60 is middle C). The first piece is what Stretto is named for: a
subject whose entries come so close that each voice begins before the last has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from catalog.synth import BASS, BELL, FLUTE, HARP, ORGAN, STRINGS, Instrument, Note

MINOR = (0, 2, 3, 5, 7, 8, 10)
MAJOR = (0, 2, 4, 5, 7, 9, 11)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
IN_SEN = (0, 1, 5, 7, 10)

Beats = Sequence[tuple[int, float]]
"""(pitch, beats); pitch 0 is a rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One piece and what its file says about it."""

    folder: str
    title: str
    artist: str
    label: str
    album: str
    isrc: str
    """Invented; the devnet's members are invented too."""
    container: str
    """"flac" or "wav"."""
    length_s: float
    compose: Callable[[], list[Note]]


def _degree(scale: Sequence[int], tonic: int, degree: int) -> int:
    octave, step = divmod(degree, len(scale))
    return tonic + 12 * octave + scale[step]


def _line(
    beats: Beats, *, start: float, beat_s: float, instrument: Instrument, gain: float, pan: float, up: int = 0
) -> list[Note]:
    """A melody in one voice. start: in beats. up: semitones of transposition."""
    notes, at = [], start
    for pitch, length in beats:
        if pitch:
            notes.append(
                Note(
                    start_s=at * beat_s,
                    length_s=length * beat_s * 0.97,
                    pitch=pitch + up,
                    gain=gain,
                    pan=pan,
                    instrument=instrument,
                )
            )
        at += length
    return notes


# ---- the pieces ------------------------------------------------------------------------------------------------------

SUBJECT: Beats = (
    (62, 1), (69, 1), (65, 1), (62, 1), (61, 1), (62, 0.5), (64, 0.5), (65, 1.25),
    (67, 0.25), (65, 0.25), (64, 0.25), (62, 1),
)  # fmt: skip
"""D minor: the leap to the fifth, the leading note, the turn home. Nine beats."""
ANSWER: Beats = tuple((pitch + 7, length) for pitch, length in SUBJECT)


def stretto() -> list[Note]:
    """Exposition, entry by entry; an episode; then the stretto: four voices two beats apart, over a pedal."""
    beat_s, notes = 0.42, []
    voices = ((0, 0.35), (-5, 0.7), (-12, 0.2), (-24, 0.5))  # soprano, alto (answer a fourth below), tenor, bass
    for entry, (up, pan) in enumerate(voices):
        notes += _line(SUBJECT, start=entry * 8, beat_s=beat_s, instrument=ORGAN, gain=0.5, pan=pan, up=up)
    for entry in range(3):  # each voice goes on in long notes under the next entry
        counter = [(_degree(MINOR, 62, d), 2.0) for d in (4, 3, 2, 1)]
        up, pan = voices[entry]
        notes += _line(counter, start=entry * 8 + 9, beat_s=beat_s, instrument=STRINGS, gain=0.3, pan=pan, up=up)
    for step, root in enumerate((50, 55, 48, 53, 46, 52, 45, 45)):  # an episode: the tail falls through the fifths
        tail = [(_degree(MINOR, 74, degree - step), 0.25) for degree in (4, 3, 2, 3)]
        notes += _line(tail, start=33 + step, beat_s=beat_s, instrument=ORGAN, gain=0.3, pan=0.35)
        notes += _line([(root, 1)], start=33 + step, beat_s=beat_s, instrument=BASS, gain=0.4, pan=0.5)
    close = 42
    for entry, (up, pan) in enumerate(((12, 0.3), (0, 0.7), (-12, 0.4), (-24, 0.6))):
        notes += _line(SUBJECT, start=close + 2 * entry, beat_s=beat_s, instrument=ORGAN, gain=0.45, pan=pan, up=up)
    notes += _line([(38, 16)], start=close, beat_s=beat_s, instrument=BASS, gain=0.5, pan=0.5)
    final = [(pitch, 4.0) for pitch in (38, 50, 57, 62, 66, 74)]  # a Picardy third: the last chord is major
    for pitch, length in final:
        notes += _line([(pitch, length)], start=close + 16, beat_s=beat_s, instrument=ORGAN, gain=0.35, pan=0.5)
    return notes


def _dice(seed: int) -> Iterator[int]:
    """Chance that every Python throws alike: a linear congruence (Knuth's MMIX constants), its upper 31 bits."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def _broken_chords(
    chords: Sequence[Sequence[int]], pattern: Sequence[int], *, beat_s: float, instrument: Instrument, gain: float
) -> list[Note]:
    """Each chord once through `pattern` (indices into the chord), two notes a beat, swaying left and right."""
    notes, at = [], 0.0
    for chord in chords:
        for i, which in enumerate(pattern):
            pan = 0.3 + 0.4 * (i % 4) / 3
            notes += _line([(chord[which], 1.5)], start=at, beat_s=beat_s, instrument=instrument, gain=gain, pan=pan)
            at += 0.5
    return notes


def early_morning() -> list[Note]:
    """C major, I-vi-IV-V with a flute that wanders up the scale and home."""
    chords = [(48, 60, 64, 67), (45, 57, 60, 64), (41, 53, 57, 60), (43, 55, 59, 62)] * 3 + [(48, 60, 64, 67)]
    notes = _broken_chords(chords, (0, 1, 2, 3, 2, 1, 2, 3), beat_s=0.5, instrument=HARP, gain=0.35)
    tune: Beats = (
        (76, 2), (79, 1), (76, 1), (72, 3), (74, 1), (77, 2), (76, 1), (72, 1), (74, 3), (67, 1),
        (72, 1), (76, 1), (79, 2), (81, 3), (79, 1), (77, 1), (76, 1), (74, 1), (72, 1), (74, 4),
        (76, 2), (79, 1), (84, 1), (81, 3), (79, 1), (77, 2), (74, 2), (71, 2), (74, 2), (72, 4),
    )  # fmt: skip
    return notes + _line(tune, start=0, beat_s=0.5, instrument=FLUTE, gain=0.5, pan=0.6)


def after_the_rain() -> list[Note]:
    """In-sen on D: single drops on bells and harp, never two the same way, over open fifths."""
    drops = _dice(20_260_101)
    notes: list[Note] = []
    at, degree = 0.0, 5
    while at < 40:
        degree = max(0, min(12, degree + (-2, -1, -1, 1, 1, 2, 3)[next(drops) % 7]))
        pitch = _degree(IN_SEN, 62, degree)
        instrument = (BELL, HARP, BELL)[next(drops) % 3]
        pan, gain = (0.2, 0.4, 0.6, 0.8)[next(drops) % 4], (0.25, 0.35, 0.45)[next(drops) % 3]
        notes += _line([(pitch, 3)], start=at, beat_s=0.6, instrument=instrument, gain=gain, pan=pan)
        at += (0.5, 0.5, 1, 1, 1.5)[next(drops) % 5]
    for bar in range(5):
        for pitch in (38, 45):
            notes += _line([(pitch, 8)], start=bar * 8, beat_s=0.6, instrument=STRINGS, gain=0.3, pan=0.5)
    return notes


def night_train() -> list[Note]:
    """D dorian at a trot: a walking bass, off-beat chords, a tune that keeps coming round."""
    beat_s, notes = 0.3, []
    roots = (38, 38, 43, 38, 45, 43, 38, 45)
    for bar in range(20):
        root = roots[bar % len(roots)]
        walk = [(root + step, 1.0) for step in (0, 7, 9, 7)]
        notes += _line(walk, start=bar * 4, beat_s=beat_s, instrument=BASS, gain=0.55, pan=0.45)
        for off in (0.5, 1.5, 2.5, 3.5):
            for third, pan in ((15, 0.3), (19, 0.7)):
                chord = [(root + third, 0.4)]
                notes += _line(chord, start=bar * 4 + off, beat_s=beat_s, instrument=HARP, gain=0.22, pan=pan)
        if bar % 4 != 3:
            riff = [(_degree(DORIAN, 62, d + bar % 3), length) for d, length in ((4, 1.5), (2, 0.5), (3, 1), (0, 1))]
            notes += _line(riff, start=bar * 4, beat_s=beat_s, instrument=ORGAN, gain=0.3, pan=0.55)
    return notes


def cradle_song() -> list[Note]:
    """G major in three, a berceuse rocking between tonic and dominant."""
    chords = [(43, 55, 59, 62), (43, 55, 59, 62), (42, 54, 57, 62), (42, 54, 57, 60)] * 4 + [(43, 55, 59, 62)]
    notes = _broken_chords(chords, (0, 1, 2, 3, 2, 1), beat_s=0.44, instrument=HARP, gain=0.3)
    phrase: Beats = ((71, 2), (74, 1), (71, 2), (69, 1), (69, 2), (66, 1), (62, 3))
    reply: Beats = ((71, 2), (74, 1), (79, 2), (78, 1), (76, 1), (74, 1), (69, 1), (72, 3))
    for start, tune, up in ((0, phrase, 0), (12, reply, 0), (24, phrase, 0), (36, reply, 0)):
        notes += _line(tune, start=start, beat_s=0.44, instrument=FLUTE, gain=0.45, pan=0.4, up=up)
    return [*notes, *_line([(67, 3)], start=48, beat_s=0.44, instrument=FLUTE, gain=0.4, pan=0.4)]


def ground_bass() -> list[Note]:
    """A lament bass (D, C sharp, C, B, B flat, A) four times, each time with one more voice above it."""
    beat_s, ground, notes = 0.55, (50, 49, 48, 47, 46, 45, 38, 38), []
    for turn in range(4):
        start = turn * 16
        notes += _line([(p, 2) for p in ground], start=start, beat_s=beat_s, instrument=STRINGS, gain=0.45, pan=0.5)
        if turn >= 1:
            upper = [(_degree(MINOR, 62, d), 2.0) for d in (4, 4, 3, 4, 2, 1, 0, 0)]
            notes += _line(upper, start=start, beat_s=beat_s, instrument=STRINGS, gain=0.3, pan=0.3)
        if turn >= 2:
            figure = [(_degree(MINOR, 74, d), 0.5) for d in (0, 1, 2, 4, 3, 2, 1, 0) * 4]
            notes += _line(figure, start=start, beat_s=beat_s, instrument=HARP, gain=0.3, pan=0.7)
        if turn >= 3:
            top = [(_degree(MINOR, 74, d), 4.0) for d in (2, 3, 1, 0)]
            notes += _line(top, start=start, beat_s=beat_s, instrument=FLUTE, gain=0.35, pan=0.6)
    return notes


_VOICES, _NIGHT = "Four Voices", "夜の音楽 · Night Music"
LABEL = "Stretto Demonstration Records"

# ISRCs need a shape, not an owner: ZZ is no country, and 26-00001 counts from one.
SCORES: tuple[Score, ...] = (
    Score(
        folder=_VOICES, title="Stretto in D minor", artist="Quartetto Immaginario", label=LABEL, album=_VOICES,
        isrc="ZZSTR2600001", container="flac", length_s=28, compose=stretto,
    ),
    Score(
        folder=_VOICES, title="Früher Morgen", artist="Jördis Ødegård", label=LABEL, album=_VOICES,
        isrc="ZZSTR2600002", container="wav", length_s=27, compose=early_morning,
    ),
    Score(
        folder=f"{_NIGHT}/一", title="雨のあと", artist="水野 あかり", label=LABEL, album=_NIGHT,
        isrc="ZZSTR2600003", container="flac", length_s=26, compose=after_the_rain,
    ),
    Score(
        folder=f"{_NIGHT}/一", title="Полночный поезд", artist="Вера Лисова", label=LABEL, album=_NIGHT,
        isrc="ZZSTR2600004", container="wav", length_s=25, compose=night_train,
    ),
    Score(
        folder=f"{_NIGHT}/二", title="Canción de cuna", artist="Inés Peñaranda", label=LABEL, album=_NIGHT,
        isrc="ZZSTR2600005", container="flac", length_s=24, compose=cradle_song,
    ),
    Score(
        folder="", title="Lamento över en basgång", artist="Quartetto Immaginario", label=LABEL, album="Loose leaves",
        isrc="ZZSTR2600006", container="wav", length_s=37, compose=ground_bass,
    ),
)  # fmt: skip
