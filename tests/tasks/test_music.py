"""Loss, metrics and generation of polyphonic music against NumPy, and MIDI files read by mido."""

import io
from functools import cache

import jax
import mido
import numpy as np
import pytest
from sklearn.metrics import log_loss

from dlresearch.data.augmentations import Transpose
from dlresearch.data.augmentations.transpose import transposed
from dlresearch.errors import UserError
from dlresearch.evaluation import PolyphonicMusicEvaluator
from dlresearch.models import functional
from dlresearch.models.recurrent_frames import RecurrentFrames
from dlresearch.tasks import PolyphonicMusic
from dlresearch.tasks.midi import to_midi

RNG = np.random.default_rng(0)
LENGTHS = np.array([6, 3, 1], np.int32)
NOTES = (RNG.random((3, 6, 88)) < 0.1) & (np.arange(6) < LENGTHS[:, None])[..., None]
BATCH = {"notes": NOTES.astype(np.uint8), "length": LENGTHS}


@cache
def trained():
    """A task and variables; the last layer's bias makes some notes likely."""
    task = PolyphonicMusic(lambda **context: functional(RecurrentFrames, width=3, **context))
    variables = jax.jit(task.init)(jax.random.key(0), BATCH)
    bias = np.linspace(-2, 0.5, 88).astype(np.float32)
    variables.params["model"]["Dense_0"]["bias"] = jax.numpy.asarray(bias)
    return task, variables


@cache
def probabilities():
    task, variables = trained()
    logits = np.asarray(jax.jit(task.predict)(variables, BATCH), np.float64)
    return 1 / (1 + np.exp(-logits))


def frames(first):
    """The losses of the frames of each piece from `first` on, by scikit-learn."""
    return [
        [
            88 * log_loss(NOTES[piece, time], probabilities()[piece, time], labels=[False, True])
            for time in range(first, length)
        ]
        for piece, length in enumerate(LENGTHS)
    ]


def test_loss_is_the_mean_over_pieces_of_the_mean_over_their_frames():
    task, variables = trained()
    (player,) = task.players
    loss, _ = jax.jit(player.loss)(variables.params["model"], variables, BATCH, jax.random.key(0))
    assert float(loss) == pytest.approx(np.mean([np.mean(piece) for piece in frames(0)]), rel=1e-5)


def evaluated(batches):
    task, variables = trained()
    return PolyphonicMusicEvaluator().run(task.predict, variables, batches)


def test_evaluation_counts_every_frame_but_the_first_of_each_piece():
    found = evaluated([{**BATCH, "mask": np.ones(3, bool)}])
    assert found["nll_frame"] == pytest.approx(np.mean(np.concatenate(frames(1))), rel=1e-5)
    assert found["nll_frame_with_first"] == pytest.approx(
        np.mean(np.concatenate(frames(0))), rel=1e-5
    )
    assert found["frames"] == 7
    played, right, either = probabilities() > 0.5, 0, 0
    for piece, length in enumerate(LENGTHS):
        ours, theirs = played[piece, 1:length], NOTES[piece, 1:length]
        right, either = right + (ours & theirs).sum(), either + (ours | theirs).sum()
    assert 0 < found["frame_accuracy"] == pytest.approx(right / either)


def test_neither_padding_nor_batching_changes_the_evaluation():
    wider = {"notes": np.pad(BATCH["notes"], ((0, 0), (0, 2), (0, 0))), "length": LENGTHS}
    filled = [
        {**{key: array[[0, 1]] for key, array in wider.items()}, "mask": np.array([True, True])},
        {**{key: array[[2, 2]] for key, array in wider.items()}, "mask": np.array([True, False])},
    ]
    found, expected = evaluated(filled), evaluated([{**BATCH, "mask": np.ones(3, bool)}])
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_frame_knows_nothing_of_itself_or_what_follows():
    task, variables = trained()
    changed = {**BATCH, "notes": BATCH["notes"].copy()}
    changed["notes"][:, 2:] = 1 - changed["notes"][:, 2:]
    before, after = (jax.jit(task.predict)(variables, batch) for batch in (BATCH, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert not np.array_equal(before[0, 3], after[0, 3])


def test_what_is_no_piano_roll_is_a_mistake():
    task, variables = trained()
    with pytest.raises(UserError, match=r"config.task.notes: 'notes' has shape \[3, 6, 87\]"):
        task.predict(variables, {**BATCH, "notes": BATCH["notes"][..., 1:]})


def roll_of(content, frame_ticks=480):
    """The notes that sound in each frame of a MIDI file, as a user's player would read it."""
    file = mido.MidiFile(file=io.BytesIO(content))
    assert file.ticks_per_beat == frame_ticks
    now, sounding, roll = 0, set(), []
    for message in mido.merge_tracks(file.tracks):
        frames, rest = divmod(message.time, frame_ticks)
        assert rest == 0
        roll += [sorted(sounding)] * frames
        now += message.time
        if message.type == "note_on":
            assert message.note not in sounding
            sounding.add(message.note)
        elif message.type == "note_off":
            sounding.remove(message.note)
    assert not sounding
    return roll


@pytest.mark.parametrize("piece", [0, 1])
def test_midi_file_plays_the_piano_roll(piece):
    expected = [(21 + np.flatnonzero(frame)).tolist() for frame in NOTES[piece]]
    assert roll_of(to_midi(NOTES[piece])) == expected


def test_a_note_of_several_frames_is_struck_once():
    roll = np.zeros((3, 88))
    roll[:2, 39] = 1
    messages = mido.MidiFile(file=io.BytesIO(to_midi(roll))).tracks[0]
    assert [m.type for m in messages if not m.is_meta] == ["note_on", "note_off"]


def test_generated_pieces_are_what_the_network_expects_of_its_own_frames():
    task, variables = trained()
    made = dict(task.generate(variables, jax.random.key(0), length=5, count=2, temperature=0.0))
    assert sorted(made) == ["piece-0.mid", "piece-1.mid"]
    notes = np.zeros((1, 5, 88), np.uint8)
    for frame, sounding in enumerate(roll_of(made["piece-0.mid"])):
        notes[0, frame, np.array(sounding, int) - 21] = 1
    logits = jax.jit(task.predict)(variables, {"notes": notes, "length": np.array([5])})
    assert notes.any()
    np.testing.assert_array_equal(logits[0] > 0, notes[0])


def test_drawn_pieces_follow_the_key():
    task, variables = trained()

    def draw(seed):
        return dict(task.generate(variables, jax.random.key(seed), length=4, count=2))

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert len(set(draw(0).values())) == 2


@pytest.mark.parametrize("shift", [-50, -3, 0, 2])
def test_transposed_notes_are_moved_and_those_beyond_the_keyboard_left_out(shift):
    moved = transposed(BATCH["notes"], np.full(3, shift))
    for piece, original in zip(np.asarray(moved), BATCH["notes"], strict=True):
        expected = np.zeros_like(original)
        for time, note in np.argwhere(original):
            if 0 <= note + shift < 88:
                expected[time, note + shift] = 1
        np.testing.assert_array_equal(piece, expected)


def test_every_piece_is_transposed_by_a_number_of_its_own_within_the_range():
    notes = np.zeros((200, 1, 88), np.uint8)
    notes[:, 0, 40] = 1
    moved = Transpose(down=2, up=1)(jax.random.key(0), {"notes": notes, "length": LENGTHS})
    shifts = np.asarray(moved["notes"]).argmax(axis=-1)[:, 0] - 40
    assert set(shifts) == {-2, -1, 0, 1}
    assert moved["notes"].dtype == np.uint8


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"note": NOTES}, "transpose: the batch has no 'notes'; did you mean 'note'?"),
        ({"notes": NOTES[0]}, r"'notes' has shape \[6, 88\], not batch, time, note"),
    ],
)
def test_transpose_says_what_it_cannot_move(batch, message):
    with pytest.raises(UserError, match=message):
        Transpose()(jax.random.key(0), batch)
