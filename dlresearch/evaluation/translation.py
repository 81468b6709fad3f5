"""Metrics of translation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Gathered
from dlresearch.tasks import Batch


class TranslationEvaluator(Gathered):
    """Translations against references, as text, and how likely the references are.

    Metrics: `bleu` (Papineni et al. 2002) of the text as it is, `bleu_lowercase` of the lower-cased
    text, `chrf` (Popovic 2015), all three from 0 to 100, by sacrebleu, with its tokeniser 13a and
    one reference; `exact`, the share of translations that are the reference to the letter; and of
    the references' tokens `loss`, their mean negative log-likelihood in nats, `perplexity` and
    `accuracy`. Files: `translations.txt`, a line a sentence, and `bleu.json`, with the signatures
    that sacrebleu asks to be quoted.

    Args:
      vocabularies: of the training source, from the trainer.
      references: the target sentences as the source has them, from the trainer.
      decode: translate, and not only score the references.
      lowercase: whether `exact` ignores case.
      target: key of the target tokens, and of their vocabulary.

    Raises:
      UserError: the source keeps no references, or has another number of them than examples.
    """

    def __init__(
        self,
        vocabularies: Mapping[str, Any],
        references: Sequence[str] | None = None,
        decode: bool = True,
        lowercase: bool = False,
        target: str = "target",
    ):
        super().__init__()
        if decode and references is None:
            raise UserError("the source keeps no references as text; set decode to False")
        self.vocabulary = vocabularies[target]
        self.references = references
        self.decode = decode
        self.lowercase = lowercase

    def collect(self, outputs: Mapping[str, Any], batch: Batch) -> Mapping[str, Any]:
        kept = ("nll", "tokens", "correct", *(("hypotheses",) if self.decode else ()))
        return {name: outputs[name] for name in kept}

    def finish(self, examples: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        tokens = np.sum(examples["tokens"], dtype=np.float64)
        loss = np.sum(examples["nll"], dtype=np.float64) / tokens
        found: dict[str, Any] = {
            "loss": loss,
            "perplexity": np.exp(loss),
            "accuracy": np.sum(examples["correct"], dtype=np.float64) / tokens,
        }
        if self.decode:
            found |= self._compared([self.vocabulary.decode(row) for row in examples["hypotheses"]])
        return found

    def _compared(self, translations: list[str]) -> dict[str, Any]:
        # A run that tries an evaluator on its first batch has fewer.
        references = list(self.references or ())[: len(translations)]
        metrics = {"bleu": BLEU(), "bleu_lowercase": BLEU(lowercase=True), "chrf": CHRF()}
        scores = {
            name: metric.corpus_score(translations, [references])
            for name, metric in metrics.items()
        }
        details = {
            name: {
                "score": scores[name].score,
                "signature": str(metric.get_signature()),
                "text": str(scores[name]),
            }
            for name, metric in metrics.items()
        }
        pairs = zip(translations, references, strict=True)
        if self.lowercase:
            pairs = ((a.lower(), b.lower()) for a, b in pairs)
        return {
            **{name: score.score for name, score in scores.items()},
            "exact": np.mean([a == b for a, b in pairs]),
            "translations.txt": "".join(f"{each}\n" for each in translations),
            "bleu.json": json.dumps(details, indent=2),
        }
