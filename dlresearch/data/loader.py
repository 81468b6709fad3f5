"""Batches from a source: streamed in the order of training, all at once, or for evaluation.

What Grain runs ahead is whole batches with random access, one a step. So there is no state in the
pipeline, and nothing to save or to seek.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from dlresearch import preemption
from dlresearch.data.order import TrainingOrder, example_rng
from dlresearch.data.plan import Plan, SequentialPlan, TrainingPlan
from dlresearch.data.reading import (
    check_batch,
    for_device,
    is_random,
    mismatch,
    name_of,
    read_batch,
    stacked,
)
from dlresearch.data.source import Arrays, ArraySource, Source
from dlresearch.data.transforms import Transform
from dlresearch.data.workers import in_worker, portable, start_worker
from dlresearch.errors import UserError

_ROWS_READ_AT_ONCE = 512  # by `load_all`: enough to make reading in bulk pay
_AHEAD = 2  # batches, where the caller has no say


class Stream(Iterator[Arrays]):
    """Batches read ahead of time; close it, or use it in a `with`, to end its workers."""

    def __init__(self, iterator: grain.DatasetIterator[Arrays]):
        self._iterator: grain.DatasetIterator[Arrays] | None = iterator

    def __next__(self) -> Arrays:
        if self._iterator is None:
            raise StopIteration
        try:
            batch = next(self._iterator)
        except Exception as error:
            self.close()
            if (mistake := _mistake(error)) is not None:
                raise mistake from error
            raise
        # Arrays from workers lie in shared memory that is unmapped when they are deleted, also
        # under a view of them, such as JAX may keep on CPU.
        return {
            key: array if type(array) is np.ndarray else np.array(array)
            for key, array in batch.items()
        }

    def close(self) -> None:
        """End worker processes and threads; the stream has no more batches afterwards."""
        if self._iterator is not None:
            self._iterator.close()
            # Grain's iterators close once more when they go, which at exit is too late for them.
            self._iterator = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stream(
    source: Source,
    transforms: Sequence[Transform],
    order: TrainingOrder,
    *,
    start_step: int,
    rows: slice | Int[np.ndarray, " row"],
    workers: int,
    prefetch: int,
) -> Stream:
    """This process's rows of every step's batch, from `start_step` on, without end.

    The batches are the same for any number of workers and processes. Threads start reading now,
    worker processes when the first batch is asked for, which takes them some seconds.

    Args:
      source: where examples come from; pickled where there are workers.
      transforms: applied to each example in this order. A random one gets a generator that
        depends on the seed and the example's position in the run alone.
      order: which examples a step has.
      start_step: the first step.
      rows: which rows of a step are this process's.
      workers: processes that read; 0 reads in threads of this one.
      prefetch: batches to have ready; with workers at least one for each.

    Returns:
      An iterator of dicts of arrays [row, ...].

    Raises:
      UserError: from `next`, for whatever is wrong with an example, also where a worker found it;
        a worker that died; a source or transform that cannot be sent to workers.
    """
    plan = TrainingPlan(order, start_step, rows)
    return _run_ahead(_Batches(source, transforms, plan), workers, prefetch)


def load_all(source: Source, transforms: Sequence[Transform]) -> Arrays:
    """The whole set in memory.

    Returns:
      Arrays [example, ...] by key; not to be written to.

    Raises:
      UserError: a transform is random, examples differ in shape, or what the source raises.
    """
    for transform in transforms:
        if is_random(transform):
            raise UserError(
                f"transform {type(transform).__name__} is random, but data.placement=resident reads"
                " each example only once; set data.placement=streamed, or, if it is not random,"
                " random = False in its class"
            )
    length = _length(source)
    if not transforms and (arrays := stacked(source)) is not None:
        arrays = {key: for_device(key, array) for key, array in arrays.items()}
        check_batch(source, arrays)
        return arrays
    plan = SequentialPlan(length, _ROWS_READ_AT_ONCE, slice(None))
    result: Arrays = {}
    with _run_ahead(_Batches(source, transforms, plan), 0, os.cpu_count() or 1) as batches:
        for number, batch in enumerate(batches):
            preemption.check()
            if not result:
                result = {k: np.empty((length, *v.shape[1:]), v.dtype) for k, v in batch.items()}
            _fill(result, batch, number * _ROWS_READ_AT_ONCE, source)
    return result


def evaluation_batches(
    examples: Source | Mapping[str, np.ndarray],
    transforms: Sequence[Transform],
    batch_size: int,
    rows: slice | Int[np.ndarray, " row"],
) -> Iterator[Arrays]:
    """All examples in order, each exactly once, in batches of one size.

    Args:
      examples: a source, or arrays by key.
      transforms: applied to each example; a random one draws the same every time.
      batch_size: over all processes.
      rows: which rows of a batch are this process's.

    Yields:
      Dicts of arrays [row, ...], as many on every process, with `mask`, bool [row], False for the
      copies of the last example that fill up the last batch.

    Raises:
      UserError: there are no examples, they have a key `mask` of their own, or what the source
        raises.
    """
    source = ArraySource(examples) if isinstance(examples, Mapping) else examples
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1")
    plan = SequentialPlan(_length(source), batch_size, rows)
    with _run_ahead(_Batches(source, transforms, plan), 0, _AHEAD) as batches:
        for number, batch in enumerate(batches):
            if "mask" in batch:
                raise UserError(
                    "examples have a key 'mask', which in evaluation says which rows count; give"
                    " it another name with the transform rename"
                )
            yield {**batch, "mask": plan.mask(number)}


class _Batches:
    """The batches of a plan with random access, which is what Grain reads from."""

    def __init__(self, source: Source, transforms: Sequence[Transform], plan: Plan):
        self._source, self._transforms, self._plan = source, tuple(transforms), plan

    def __len__(self) -> int:
        return self._plan.length

    def __getitem__(self, index: int) -> Arrays:
        indices, positions = self._plan(index)
        try:
            return read_batch(
                self._source,
                self._transforms,
                indices,
                lambda row: example_rng(self._plan.seed, int(positions[row])),
            )
        except Exception as error:
            if in_worker() and (other := portable(error)) is not error:
                raise other from None
            raise


def _run_ahead(batches: _Batches, workers: int, prefetch: int) -> Stream:
    grain.config.update("py_traceback_filtering", "off")  # on, it adds lines to errors of users
    # Within a worker nothing runs ahead but the worker itself.
    threads = 0 if workers else min(prefetch, os.cpu_count() or 1)
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
    dataset = grain.MapDataset.source(batches).to_iter_dataset(read)
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain asks for its own, also outside an absl program
        each = max(1, -(-prefetch // workers))
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=each)
        dataset = dataset.mp_prefetch(options, worker_init_fn=start_worker)
    iterator = iter(dataset)
    iterator.start_prefetch()
    return Stream(iterator)


def _length(source: Source) -> int:
    length = len(source)
    if length == 0:
        raise UserError(f"{type(source).__name__}: there is no example in it")
    return length


def _fill(result: Arrays, batch: Arrays, first: int, source: Source) -> None:
    """Write a batch to its place in the arrays of the whole set, as far as these go."""
    names = name_of(source, 0), name_of(source, first)
    if batch.keys() != result.keys():
        raise UserError(
            f"{names[1]} has the keys {sorted(batch)}, and {names[0]} {sorted(result)}; all must"
            " have the same"
        )
    for key, array in result.items():
        part = batch[key][: len(array) - first]
        if part.shape[1:] != array.shape[1:] or part.dtype != array.dtype:
            raise mismatch(key, (names[0], array[0]), (names[1], part[0]))
        array[first : first + len(part)] = part


def _mistake(error: Exception) -> UserError | None:
    """What the user can do about an error of Grain's own (as grain 0.2.18 words them)."""
    if any("cannot be pickled" in note for note in getattr(error, "__notes__", ())):
        return UserError(
            f"the source or a transform cannot be sent to worker processes ({error}); set"
            " data.workers=0, or define it in a module, without open files or lambdas"
        )
    if "terminated unexpectedly" in str(error):
        reason = str(error).split(". ")[0]
        return UserError(
            f"a data worker died ({reason}), most likely for want of memory or of room in /dev/shm;"
            " lower data.workers, data.prefetch or the batch size"
        )
    return None
