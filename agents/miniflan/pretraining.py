"""Pretraining of MiniFlan: one step at a time, seeded, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_model, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from agents.language_model.encoder_decoder import decode, encode, vocabulary_logits
from agents.miniflan.architecture import grown, miniflan_config, random_miniflan
from agents.miniflan.batches import POOL, Batch, draw_pool, encode_batch
from agents.miniflan.mixture import Example
from agents.miniflan.muon import Muon
from agents.miniflan.tokenizer import train_miniflan_tokenizer
from agents.miniflan.validation import questionnaires
from agents.ranges import Count, Fraction, NonNegative, Positive, Whole
from agents.tokenizer import PAD_ID
from agents.training_state import load_optimizer, save_optimizer
from envs.language_view import ENGLISH

_ASKED_AT_ONCE = 50


@dataclass(frozen=True)
class PretrainingConfig:
    """Options of pretraining.

    Attributes:
        steps: Batches, of both stages.
        grow_after: Batches of the first stage; after it two attention heads are added.
        batch_tokens: Rough number of prompt tokens in a batch.
        matrix_learning_rate: Muon's learning rate for weight matrices.
        learning_rate: Adam's learning rate for embeddings and norms.
        bias_learning_rate: Adam's learning rate for the biases of relative positions.
        warmup: Batches over which the learning rates rise from 0 in each stage.
        easy: Share of the first stage, at the start, that is of the mixture's easy part.
        decay: Share of each stage, at the end, over which they fall to 0.
        smoothed: Share of each stage, at the end, whose labels are smoothed (Szegedy et al. 2016):
            what the model has no reason to say or not to say becomes about equally likely, or
            its first policy over words it was never asked for would hardly explore.
        label_smoothing: Probability that those labels spread over all tokens.
        max_grad_norm: Largest norm of the gradient.
        validation_questions: Held-out questions for each task and number of things.
        seed: Seed of the weights and of the examples.
    """

    steps: Count = 32_000
    grow_after: Count = 8_000
    batch_tokens: Count = 1024
    matrix_learning_rate: NonNegative = 3e-3
    learning_rate: NonNegative = 2e-3
    bias_learning_rate: NonNegative = 2e-2
    warmup: Count = 100
    easy: Fraction = 0.25
    decay: Fraction = 0.4
    smoothed: Fraction = 0.1
    label_smoothing: Fraction = 0.1
    max_grad_norm: Positive = 1.0
    validation_questions: Count = 100
    seed: Whole = 0


class Pretraining:
    """The model, its optimisers and the number of batches seen."""

    Config = PretrainingConfig

    def __init__(self, config: PretrainingConfig) -> None:
        """Starts from random weights.

        Args:
            config: Options.
        """
        self.config = config
        self.tokenizer = train_miniflan_tokenizer()
        small = miniflan_config(len(self.tokenizer), heads=4)
        self.model = random_miniflan(small, config.seed)
        self.steps = 0
        self.examples = 0
        self._pool: tuple[tuple[int, bool], list[Batch]] = ((-1, False), [])
        self._optimizers = self._make_optimizers()

    def _make_optimizers(self) -> dict[str, tuple[torch.optim.Optimizer, float]]:
        """Fresh ones with their largest learning rates, by name."""
        config = self.config
        self.model.train()
        matrices, biases, others = [], [], []
        for name, parameter in self.model.named_parameters():
            if "relative_attention_bias" in name:
                biases.append(parameter)
            elif parameter.ndim == 2 and "shared" not in name:
                matrices.append(parameter)
            else:
                others.append(parameter)
        rate, bias_rate = config.learning_rate, config.bias_learning_rate
        return {
            "matrices": (Muon(matrices, config.matrix_learning_rate), config.matrix_learning_rate),
            "others": (torch.optim.Adam(others, rate), rate),
            "biases": (torch.optim.Adam(biases, bias_rate), bias_rate),
        }

    def _grow(self) -> None:
        self.model = grown(self.model, self.config.seed)
        self._optimizers = self._make_optimizers()

    def step(self) -> float:
        """Learns from one batch; which, is fixed by the seed and the number of batches before.

        Returns:
            The batch's mean cross-entropy per answer token, in nats.
        """
        config = self.config
        if self.steps == config.grow_after:
            self._grow()
        first = self.steps < config.grow_after
        start = 0 if first else config.grow_after
        end = min(config.steps, config.grow_after) if first else config.steps
        done, length = self.steps - start, end - start
        decaying = (length - done) / max(1.0, config.decay * length)
        pace = min(1.0, (done + 1) / config.warmup, decaying)
        for optimizer, rate in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * pace
        batch = self._next_batch(easy=first and done < config.easy * length)
        logits, labels = self.answer(batch)
        loss = cross_entropy(logits, labels)
        if done >= (1 - config.smoothed) * length:
            cross_entropy(logits, labels, label_smoothing=config.label_smoothing).backward()
        else:
            loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        for optimizer, _ in self._optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.steps += 1
        self.examples += len(batch.labels)
        if self.steps == config.steps:
            self._prefer_no_action()
        return float(loss.detach())

    @torch.no_grad()
    def _prefer_no_action(self) -> None:
        """Gives the actions' words the mean of all embeddings, as words new to a model get.

        (Hewitt 2021.) The mixture has some of them in other senses and some never. What their
        embeddings prefer is an accident, yet it decided how fast an agent learned, and whether.
        """
        words = [word for phrase in ENGLISH.actions for word in self.tokenizer(phrase).input_ids]
        self.model.shared.weight[words] = self.model.shared.weight.mean(0)

    def _next_batch(self, *, easy: bool) -> Batch:
        index, place = divmod(self.steps, POOL)
        if self._pool[0] != (index, easy):
            rng = Random(f"train {self.config.seed} {index}")
            batches = draw_pool(self.tokenizer, rng, self.config.batch_tokens, easy=easy)
            self._pool = ((index, easy), batches)
        return self._pool[1][place % len(self._pool[1])]

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Reads prompts and answers.

        Args:
            batch: Prompts with their answers.

        Returns:
            Logits (tokens, vocabulary) for every token that is to be said, and those tokens.
        """
        place = torch.arange(batch.labels.shape[1])
        before = place[:, None] >= place
        encoded = encode(self.model, [batch.prompts])
        hidden = decode(self.model, batch.decoder_inputs, place, before, encoded)
        spoken = batch.labels != PAD_ID
        return vocabulary_logits(self.model, hidden[spoken]), batch.labels[spoken]

    @torch.no_grad()
    def exact(self, examples: Sequence[Example]) -> list[list[bool]]:
        """Which answers the model would give, word for word.

        An answer is exact if every token of it is the likeliest after those before it, which is
        what greedy decoding gives.

        Args:
            examples: What to ask; at most a few hundred.

        Returns:
            One list for each example: for each blank of a fill task, else for the one answer.
        """
        batch = encode_batch(self.tokenizer, examples)
        logits, labels = self.answer(batch)
        lengths = (batch.labels != PAD_ID).sum(1).tolist()
        answers = zip(
            (logits.argmax(1) == labels).split(lengths), labels.split(lengths), strict=True
        )
        return [self._by_answer(right.tolist(), answer.tolist()) for right, answer in answers]

    def save(self, directory: Path) -> None:
        """Writes weights and optimisers for :meth:`load`."""
        save_file(
            {name: value.contiguous() for name, value in self._weights().items()},
            directory / "model.safetensors",
        )
        for name, (optimizer, _) in self._optimizers.items():
            save_optimizer(optimizer, directory / f"{name}.safetensors")

    def load(self, directory: Path, steps: int, examples: int) -> None:
        """Goes on from what :meth:`save` wrote.

        Args:
            directory: Where it is.
            steps: Batches seen by then.
            examples: Examples seen by then.
        """
        if steps > self.config.grow_after:
            self._grow()
        load_model(self.model, directory / "model.safetensors")
        for name, (optimizer, _) in self._optimizers.items():
            load_optimizer(optimizer, directory / f"{name}.safetensors")
        self.steps, self.examples = steps, examples

    def export(self, directory: Path) -> None:
        """Writes a folder that transformers opens: weights in half precision, tokenizer.

        Args:
            directory: Made if need be.
        """
        half = random_miniflan(self.model.config, 0).half()
        half.load_state_dict(self.model.state_dict())
        half.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def validate(self) -> Iterator[tuple[str, int | None, float | None, int, int]]:
        """Asks the held-out questions.

        Yields:
            Task, things in view (None without a scene), chance level (None if there is none),
            number of answers, number of exact ones.
        """
        for sheet in questionnaires(self.config.validation_questions):
            verdicts: list[bool] = []
            for start in range(0, len(sheet.examples), _ASKED_AT_ONCE):
                for answers in self.exact(sheet.examples[start : start + _ASKED_AT_ONCE]):
                    verdicts += answers
            yield sheet.task, sheet.things, sheet.chance, len(verdicts), sum(verdicts)

    def _weights(self) -> dict[str, Tensor]:
        """Weights without the two names under which T5 repeats its embeddings."""
        tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
        return {k: v for k, v in self.model.state_dict().items() if k not in tied}

    def _by_answer(self, right: list[bool], answer: list[int]) -> list[bool]:
        first = self.tokenizer.convert_tokens_to_ids("<extra_id_0>")
        verdicts: list[bool] = []
        for good, token in zip(right, answer, strict=True):
            if not verdicts or token >= first:
                verdicts.append(True)
            verdicts[-1] &= good or token >= first
        return verdicts
