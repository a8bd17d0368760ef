"""The sub-word tokenizer: lossless, deterministic, one token for each word of the environment."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.tokenizer import END, END_ID, PAD, PAD_ID, UNKNOWN, UNKNOWN_ID, corpus, train_tokenizer
from envs import FRENCH, SPLITS, TextEnv, lexicon
from envs.language_view import ENGLISH

TOKENIZER = train_tokenizer()


@given(st.text())
def test_every_text_survives_the_round_trip(text: str) -> None:
    encoded = TOKENIZER.encode(text).ids
    assert TOKENIZER.decode(encoded) == text
    assert UNKNOWN_ID not in encoded


@pytest.mark.parametrize(
    "text", ["<pad>", "</s> <unk>", "<0x41>", "▁ x", "  two  spaces ", "\t\r\n"]
)
def test_reserved_tokens_and_blanks_in_a_text_are_only_text(text: str) -> None:
    encoded = TOKENIZER.encode(text).ids
    assert TOKENIZER.decode(encoded) == text
    assert min(encoded) > UNKNOWN_ID


def test_reserved_ids() -> None:
    ids = [TOKENIZER.token_to_id(token) for token in (PAD, END, UNKNOWN)]
    assert ids == [PAD_ID, END_ID, UNKNOWN_ID] == [0, 1, 2]


@pytest.mark.parametrize("split", ["train", "french-goto"])
def test_every_word_of_a_prompt_is_one_token(split: str) -> None:
    env = TextEnv(SPLITS[split].level, view=SPLITS[split].view)
    prompt = env.reset(seed=10_000)[0].prompt()
    words = re.findall(r"\w+|[^\w ]", prompt)
    assert [token.strip(" ") for token in TOKENIZER.encode(prompt).tokens if token != " "] == words


@pytest.mark.parametrize("phrase", [*lexicon.ACTIONS, *lexicon.FRENCH_ACTIONS])
def test_a_phrase_has_the_same_tokens_alone_and_in_a_prompt(phrase: str) -> None:
    alone = TOKENIZER.encode(phrase).ids
    inside = TOKENIZER.encode(f"Action 0: {phrase} \n").ids
    start = len(TOKENIZER.encode("Action 0:").ids)
    assert inside[start : start + len(alone)] == alone


def test_words_that_splits_introduce_are_not_in_the_corpus() -> None:
    text = " ".join(corpus())
    invented = [*lexicon.INVENTED_NOUNS.values(), *lexicon.INVENTED_ADJECTIVES.values()]
    renamed = [*lexicon.RENAMED_NOUNS.values(), *lexicon.ADJECTIVE_SYNONYMS.values()]
    for word in [*invented, *renamed, "rotate", "switch", "release"]:
        assert re.search(rf"\b{word}\b", text) is None
    assert re.search(r"\bkey\b", text) is not None


def test_the_corpus_covers_goals_sentences_and_actions_of_both_languages() -> None:
    lines = set(corpus())
    assert "You carry a red ball" in lines
    assert "Tu vois un mur à 3 pas à gauche" in lines
    assert any(line.startswith("put ") for line in lines)
    assert any(line.startswith("mettre ") for line in lines)
    prompts = [line for line in lines if "\n" in line]
    for view in (ENGLISH, FRENCH):
        for phrase in view.action_phrases(view.max_actions):
            assert any(phrase in prompt for prompt in prompts)


def test_another_process_trains_the_same_bytes() -> None:
    program = (
        "import hashlib; from agents.tokenizer import train_tokenizer;"
        "print(hashlib.sha256(train_tokenizer().to_str().encode()).hexdigest())"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert digests == {hashlib.sha256(TOKENIZER.to_str().encode()).hexdigest()}


def test_a_caller_cannot_change_another_caller_s_tokenizer() -> None:
    mine, yours = train_tokenizer(), train_tokenizer()
    mine.add_tokens(["turn left"])
    assert yours.get_vocab_size() == mine.get_vocab_size() - 1
    assert train_tokenizer().to_str() == yours.to_str()


def test_vocabulary_size_is_an_upper_bound() -> None:
    assert train_tokenizer(400).get_vocab_size() == 400
    assert train_tokenizer(8000).get_vocab_size() <= 8000
    with pytest.raises(ValueError, match="at least"):
        train_tokenizer(259)
    for too_few in (-1, 0, 100, 258):
        with pytest.raises(ValueError, match="at least 259"):
            train_tokenizer(too_few)
