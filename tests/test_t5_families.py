"""Of the T5 family beside Flan-T5 too, our own forward pass gives what the library gives."""

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    MT5Config,
    PreTrainedTokenizerFast,
    T5Config,
    UMT5Config,
)

from agents import AgentError
from agents.language_model import encoder_decoder, library_check
from agents.language_model.backbone import load_backbone
from agents.language_model.library_check import check_reading
from agents.miniflan.architecture import MINIFLAN_FOLDER

SIZES = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
FAMILIES = {
    "t5": (T5Config, {}),
    "t5 1.1": (T5Config, {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}),
    "mt5": (MT5Config, {}),
    "umt5": (UMT5Config, {}),
}


@pytest.fixture(params=FAMILIES, ids=lambda name: name.replace(" ", "-"))
def folder(request, tmp_path):
    kind, options = FAMILIES[request.param]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MINIFLAN_FOLDER)
    torch.manual_seed(0)
    config = kind(vocab_size=len(tokenizer), decoder_start_token_id=0, **SIZES, **options)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_pretrained_or_drawn_anew_they_are_read_as_the_library_reads_them(folder):
    for pretrained in (True, False):
        backbone = load_backbone(
            str(folder), pretrained=pretrained, pretrained_embeddings=False, seed=0
        )  # refuses what it misreads
        check_reading(backbone.model)


def test_outputs_that_are_scaled_otherwise_are_refused(folder, monkeypatch):
    scales = encoder_decoder.scales_outputs
    monkeypatch.setattr(encoder_decoder, "scales_outputs", lambda config: not scales(config))
    assert library_check.vocabulary_logits is encoder_decoder.vocabulary_logits
    with pytest.raises(AgentError, match="gives other probabilities than each action by itself"):
        load_backbone(str(folder), pretrained=True, pretrained_embeddings=False, seed=0)
