"""Options of the language-model agents."""

from __future__ import annotations

from dataclasses import dataclass

from agents.language_model.policy import PolicyHead, Scoring
from agents.language_model.precision import Precision
from agents.ranges import Count, Fraction, NonNegative, Positive
from agents.schedule import Decay


@dataclass(frozen=True)
class LanguageModelConfig:
    """Options of a language-model agent.

    The defaults are the paper's, except for the model, which must be there without a network.

    Attributes:
        model: ``"miniflan"`` (ships with the benchmark), ``"smollm2"`` (from a package), a folder,
            or a hub name.
        pretrained: Start from the checkpoint's weights, if it has any.
        pretrained_embeddings: Without pretraining, keep the checkpoint's token embeddings.
        policy_head: ``"lm_head"``: the LM head scores the actions' words; ``"action_heads"``: an
            MLP with one output per action.
        scoring: ``"log_probabilities"`` (the paper) or ``"logits"`` (the public code's
            sum, without its bonus for padding).
        value_hidden: Width of the value head's (and action heads') hidden layers.
        learning_rate: Adam's learning rate.
        learning_rate_decay: ``"none"``, or ``"linear"``: to 0 at the end of training.
        adam_beta1: Adam's first decay.
        adam_beta2: Adam's second decay.
        adam_eps: Adam's ε.
        rollout_length: Steps in each environment between updates.
        epochs: Passes over a rollout.
        batch_size: Transitions in a minibatch.
        gamma: Discount.
        gae_lambda: λ of generalised advantage estimation.
        clip: Clipping range of the policy ratio.
        clip_value: Clipping range of the value, in units of the scaled reward.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss.
        max_grad_norm: Largest norm of the gradient.
        reward_scale: Factor on rewards while learning.
        normalize_advantage: Whether a minibatch's advantages are standardised.
        bootstrap_on_timeout: Whether a time-out is bootstrapped; published: it ends the episode.
        max_batch_tokens: Prompt tokens in one forward pass; bounds memory and
            changes results only by rounding.
        lora_rank: Train adapters of this rank beside frozen weights; None: the whole model.
        activation_checkpointing: Compute each layer again in the backward pass instead of keeping
            what it computed: less memory, about a third more time, the same gradients.
        precision: ``"float32"``; ``"bfloat16"``: the model's forward pass in 16-bit numbers over
            32-bit weights; ``"auto"``: whichever a matrix product on the device is faster in.
    """

    model: str = "miniflan"
    pretrained: bool = True
    pretrained_embeddings: bool = False
    policy_head: PolicyHead = "lm_head"
    scoring: Scoring = "log_probabilities"
    value_hidden: Count = 1024
    learning_rate: NonNegative = 1e-6
    learning_rate_decay: Decay = "none"
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.999
    adam_eps: Positive = 1e-5
    rollout_length: Count = 40
    epochs: Count = 4
    batch_size: Count = 64
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.99
    clip: Positive = 0.2
    clip_value: Positive = 0.2
    entropy_coefficient: NonNegative = 0.01
    value_coefficient: NonNegative = 0.5
    max_grad_norm: Positive = 0.5
    reward_scale: float = 20.0
    normalize_advantage: bool = False
    bootstrap_on_timeout: bool = False
    max_batch_tokens: Count = 16384
    lora_rank: int | None = None
    activation_checkpointing: bool = False
    precision: Precision = "float32"
