"""Who a language-model agent is, for the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.language_model.backbone import Backbone
from agents.language_model.config import LanguageModelConfig

# (policy head, pretrained, pretrained embeddings) -> the paper's name
_NAMES = {
    ("lm_head", True, False): "GFlan",
    ("lm_head", True, True): "GFlan",
    ("lm_head", False, True): "NPE",
    ("lm_head", False, False): "NP",
    ("action_heads", True, False): "AFlan",
    ("action_heads", True, True): "AFlan",
    ("action_heads", False, True): "NPAE",
    ("action_heads", False, False): "NPA",
}


def describe(
    config: LanguageModelConfig, backbone: Backbone, precision: str, own: str | None = None
) -> Mapping[str, Any]:
    """Label and model; says plainly when nothing is pretrained.

    Args:
        config: The agent's options.
        backbone: The model it opened.
        precision: What the forward pass computes in.
        own: Name of a variant from outside, which is not the paper's agent.
    """
    name = _NAMES[config.policy_head, config.pretrained, config.pretrained_embeddings]
    if not backbone.model.config.is_encoder_decoder:
        name = name.replace("GFlan", "GLAM").replace("AFlan", "GLAM, action heads")
    return {
        "label": f"{own or name} ({backbone.name})",
        "model": {
            "name": backbone.name,
            "source": config.model,
            "pretrained": backbone.pretrained,
            "parameters": sum(p.numel() for p in backbone.model.parameters()),
            "weights_sha256": backbone.weights_sha256,
            "precision": precision,
        },
    }
