"""DINO: a network says of any view what its slow copy says of another, larger one."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from dlresearch.config import Component
from dlresearch.data import SECOND
from dlresearch.models.checks import check_shares
from dlresearch.tasks.self_supervised import distillation
from dlresearch.tasks.self_supervised.base import PROBE, Learned, SelfSupervised
from dlresearch.tasks.self_supervised.checks import check_temperature
from dlresearch.tasks.self_supervised.multi_crop import held, of_all_views, warming
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.self_supervised.target import (
    parts,
    rising,
    target_of,
    target_outputs,
)
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import TEACHER, Average, Batch, MakeModel, Variables

HEAD, CENTRE = "head", "centre"


class DINO(SelfSupervised):
    """Caron et al. 2021, arXiv:2104.14294: self-distillation without labels.

    What is evaluated is the teacher, which is better than the student all along (section 5.2); the
    online probe reads its features, too.

    Args:
      make_model: from the trainer.
      metadata: of the training source, from the trainer.
      outputs: of the head (section 3.2; the fewer images, the fewer).
      hidden: sizes of the head's hidden layers (appendix C).
      bottleneck: size of the head's narrow layer, behind them.
      head_norm: batch norm in the head; none with a vision transformer.
      temperature: of the student (section 3.2).
      teacher_temperature: of the teacher, after its warm-up.
      first_teacher_temperature: at the start.
      teacher_warmup: the share of the run in which the one becomes the other, on a line; theirs is
        30 epochs of 300.
      momentum: of the teacher at the start; it rises to 1 over the run.
      centre_momentum: of the centre (equation 4).
      last_layer_frozen: the first share of the run, in which the last layer gets no gradient;
        theirs is one epoch of 100 and more.
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        outputs: int = 65536,
        hidden: tuple[int, ...] = (2048, 2048),
        bottleneck: int = 256,
        head_norm: bool = False,
        temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        first_teacher_temperature: float = 0.04,
        teacher_warmup: float = 0.1,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        last_layer_frozen: float = 0.01,
        probe: bool = True,
        label: str = "label",
    ):
        check_temperature(
            temperature=temperature,
            teacher_temperature=teacher_temperature,
            first_teacher_temperature=first_teacher_temperature,
        )
        check_shares(
            teacher_warmup=teacher_warmup,
            centre_momentum=centre_momentum,
            last_layer_frozen=last_layer_frozen,
        )
        head = Component(
            "dino_head",
            num_outputs=outputs,
            hidden=hidden,
            bottleneck=bottleneck,
            norm=head_norm,
        )
        made = make_model(head, "config.task")
        super().__init__(make_model, metadata, {HEAD: made}, probe, label)
        self.outputs = outputs
        self.temperature = temperature
        self.teacher_temperature = warming(
            first_teacher_temperature, teacher_temperature, teacher_warmup
        )
        self.momentum = rising(momentum)
        self.centre_momentum = centre_momentum
        self.last_layer_frozen = last_layer_frozen

    @property
    def averages(self) -> Mapping[str, Average]:
        return {TEACHER: target_of(self.networks, HEAD, self.momentum)}

    def start(self, params: Trees, batch: Batch) -> dict[str, PyTree]:
        return {CENTRE: jnp.zeros(self.outputs, jnp.float32)}

    def learned(self, variables: Variables) -> tuple[Trees, Trees]:
        params, state = parts(variables.averages[TEACHER])
        own = variables.params[PLAYER]
        return {**params, **{name: own[name] for name in (PROBE,) if name in own}}, state

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        student_key, *teacher_keys = jax.random.split(key, 3)
        params = held(params, (HEAD, "last"), self.last_layer_frozen, variables.now)
        logits, (one, two), state = of_all_views(
            self, params, variables.state[PLAYER], batch, student_key, HEAD
        )
        teacher = [
            target_outputs(self.networks, variables, view, own, HEAD, TEACHER)
            for view, own in zip((self.first(batch), batch[SECOND]), teacher_keys, strict=True)
        ]
        says = jnp.stack([each[HEAD] for each in teacher], axis=1)
        centre, temperature = variables.state[CENTRE], self.teacher_temperature(variables.now)
        targets = distillation.centred_softmax(says, centre, temperature)
        loss = distillation.across_views(targets, logits, self.temperature)
        moved = distillation.moved_centre(centre, says, self.centre_momentum)
        return Learned(
            loss,
            teacher[0][BACKBONE],
            {**variables.state, PLAYER: state, CENTRE: moved},
            {
                "teacher_entropy": distillation.entropy(targets),
                "teacher_temperature": temperature,
                "momentum": self.momentum(variables.now),
            },
            (one[HEAD], two[HEAD]),
        )
