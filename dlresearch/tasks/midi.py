"""Piano rolls as MIDI files."""

import io

import mido
import numpy as np
from jaxtyping import Shaped

from dlresearch.data.chorales import LOWEST_NOTE

_TICKS_A_BEAT = 480
_VELOCITY = 64  # mezzo-forte, the default of the MIDI standard for keys without one


def to_midi(
    roll: Shaped[np.ndarray, "time 88"], beats_a_frame: float = 1.0, beats_a_minute: float = 90.0
) -> bytes:
    """The content of a MIDI file (type 0) that plays a piano roll.

    Args:
      roll: non-zero where a note sounds; the first column is MIDI note 21. A note that sounds in
        frames that follow one another is held, not struck again.
      beats_a_frame: 1 for quarter notes.
    """
    ticks = round(_TICKS_A_BEAT * beats_a_frame)
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_a_minute)))
    silence = np.zeros((1, roll.shape[1]), bool)
    changes = np.diff(np.concatenate([silence, roll != 0, silence]).astype(np.int8), axis=0)
    last = 0
    for frame, change in enumerate(changes):
        # Ends first: a note may stop and another begin in the same instant.
        for kind, sign in (("note_off", -1), ("note_on", 1)):
            for note in np.flatnonzero(change == sign):
                track.append(
                    mido.Message(
                        kind,
                        note=LOWEST_NOTE + int(note),
                        velocity=_VELOCITY,
                        time=(frame - last) * ticks,
                    )
                )
                last = frame
    # A rest at the end lasts as long as the others.
    track.append(mido.MetaMessage("end_of_track", time=(len(roll) - last) * ticks))
    file = mido.MidiFile(type=0, ticks_per_beat=_TICKS_A_BEAT, tracks=[track])
    content = io.BytesIO()
    file.save(file=content)
    return content.getvalue()
