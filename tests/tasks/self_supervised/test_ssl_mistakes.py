"""What methods of self-supervised learning refuse, each in one line that names the place."""

import jax
import jax.numpy as jnp
import pytest

from dlresearch.errors import UserError
from helpers.tasks.method_steps import ROWS, batch, steps, task_of

WRONG = {
    ("moco_v2", "queue", 0): r"^config\.task: queue=0: must be at least 1",
    ("moco_v2", "momentum", 1.5): r"^config\.task: momentum=1\.5: is not in \[0, 1\]",
    ("moco_v2", "temperature", 0.0): r"^config\.task: temperature=0\.0: must be above 0",
    ("moco_v2", "projector", ()): r"^config\.task\.projector: .*widths=\(\): a projector has one",
    ("supervised_contrastive", "temperature", -1.0): r"^config\.task: temperature=-1\.0: must be",
    ("moco_v3", "predictor", (5, 3)): r"^config\.task: predictor=\(5, 3\): must end in the size",
    ("simsiam", "predictor", (5, 3)): r"^config\.task: predictor=\(5, 3\): must end in the size",
    ("nnclr", "predictor", (5, 3)): r"^config\.task: predictor=\(5, 3\): must end in the size",
    ("nnclr", "queue", -1): r"^config\.task: queue=-1: must be at least 1",
    ("barlow_twins", "off_diagonal", -1.0): r"^config\.task: off_diagonal=-1\.0: must not be neg",
    ("barlow_twins", "scale", 0.0): r"^config\.task: scale=0\.0: must be above 0",
    ("vicreg", "variance", -1.0): r"^config\.task: variance=-1\.0: must not be negative",
    ("swav", "prototypes", 0): r"^config\.task\.prototypes: .*count=0: must be at least 1",
    ("swav", "epsilon", 0.0): r"^config\.task: epsilon=0\.0: must be above 0",
    ("swav", "iterations", 0): r"^config\.task: iterations=0: must be at least 1",
    ("swav", "prototypes_frozen", 1.0): r"^config\.task: prototypes_frozen=1\.0 is not in \[0, 1\)",
    ("dino", "outputs", 0): r"^config\.task: .*num_outputs=0: must be at least 1",
    ("dino", "teacher_temperature", 0.0): r"^config\.task: teacher_temperature=0\.0: must be above",
    ("dino", "teacher_warmup", -0.1): r"^config\.task: teacher_warmup=-0\.1 is not in \[0, 1\)",
    ("dino", "last_layer_frozn", 0.1): r"^config\.task\.last_layer_frozn.*'last_layer_frozen'",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: "-".join(map(str, wrong[:2])))
def test_a_wrong_argument_is_named(wrong):
    name, argument, value = wrong
    with pytest.raises(UserError, match=WRONG[wrong]) as caught:
        task_of(name, **{argument: value})
    assert "\n" not in str(caught.value)


def test_a_queue_shorter_than_a_batch_is_refused():
    with pytest.raises(UserError, match=r"^config\.task\.queue: 6 rows do not hold a batch of 8"):
        steps("moco_v2", queue=6)


@pytest.mark.parametrize("labels", [jnp.ones((ROWS, 3)) / 3, jnp.ones(ROWS)])
def test_labels_that_are_no_classes_are_refused(labels):
    task, given = task_of("supervised_contrastive", probe=False), batch(0)
    variables = jax.eval_shape(task.init, jax.random.key(0), given)
    with pytest.raises(UserError, match=r"^config\.task\.label: 'label' is float32"):
        jax.eval_shape(
            lambda v: task.learn(
                v.params["model"], v, {**given, "label": labels}, jax.random.key(0)
            ),
            variables,
        )
