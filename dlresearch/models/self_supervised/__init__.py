"""Heads for pretraining without labels."""

from dlresearch.models.self_supervised.mae_decoder import MAEDecoder
from dlresearch.models.self_supervised.masked_token_head import MaskedTokenHead
from dlresearch.models.self_supervised.projector import DINOHead, Projector, Prototypes
from dlresearch.models.self_supervised.unit_length import unit_length

__all__ = ["DINOHead", "MAEDecoder", "MaskedTokenHead", "Projector", "Prototypes", "unit_length"]
