"""Symbolic-PPO's network."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from threads import gradients_on_two_threads
from torch.nn import functional as F

from agents.symbolic_env import N_CODES, encode, symbolic_space
from agents.symbolic_network import BagOfCodes, FiLMBlock, FiLMExtractor, Pooling
from envs import Observation, TextEnv


def test_a_cell_is_the_sum_of_its_codes_embeddings() -> None:
    torch.manual_seed(0)
    bag = BagOfCodes(history=2, channels=5)
    highest = torch.tensor([n - 1 for n in N_CODES] * 2)
    views = torch.stack([torch.zeros(6, dtype=torch.int64), highest]).view(1, 2, 1, 6)
    views = torch.cat([views, torch.tensor([1, 0, 2, 5, 3, 0]).view(1, 1, 1, 6)], 1)
    embedded = bag(views)
    assert embedded.shape == (1, 5, 3, 1)
    for column in range(3):
        codes = views[0, column, 0].tolist()
        expected = sum(
            table[age, codes[3 * age + k]]
            for age, (k, table) in product(
                range(2), enumerate((bag.types, bag.colours, bag.states))
            )
        )
        torch.testing.assert_close(embedded[0, :, column, 0], expected)


def test_a_mission_scales_and_shifts_each_channel() -> None:
    torch.manual_seed(0)
    block = FiLMBlock(channels=2, mission_size=3)
    x, mission = torch.randn(1, 2, 4, 4), torch.randn(1, 3)
    gamma, beta = block.modulation(mission)[0].view(2, 2)
    plain = block.after(F.relu(block.before(x)))
    shifted = (1 + gamma.view(1, 2, 1, 1)) * plain + beta.view(1, 2, 1, 1)
    torch.testing.assert_close(block(x, mission), x + F.relu(shifted))


def features_of(extractor: FiLMExtractor, group: list[Observation]) -> torch.Tensor:
    arrays = encode(group, 3)
    features: torch.Tensor = extractor({k: torch.from_numpy(v) for k, v in arrays.items()})
    return features


@pytest.mark.parametrize("pooling", ["end", "early", "none"])
def test_features_depend_on_view_and_mission_but_not_on_the_batch(pooling: Pooling) -> None:
    torch.manual_seed(0)
    extractor = FiLMExtractor(symbolic_space(3), channels=6, mission_size=5, pooling=pooling)
    env = TextEnv("MixedTrainLocal")
    observations = [env.reset(seed=seed)[0] for seed in range(5)]
    observations.append(replace(observations[0], goal=observations[1].goal))
    observations.append(replace(observations[0], images=observations[1].images))

    def features(group: list[Observation]) -> torch.Tensor:
        return features_of(extractor, group)

    together = features(observations)
    assert together.shape == (7, extractor.features_dim)
    torch.testing.assert_close(together, torch.cat([features([o]) for o in observations]))
    assert not torch.allclose(together[0], together[5])
    assert not torch.allclose(together[0], together[6])


def test_an_observation_that_comes_back_is_read_once_and_counts_each_time() -> None:
    torch.manual_seed(0)
    extractor = FiLMExtractor(symbolic_space(3), channels=6, mission_size=5, pooling="none")
    env = TextEnv("MixedTrainLocal")
    one, other = (env.reset(seed=seed)[0] for seed in range(2))
    batches = []
    extractor.view_embedding.register_forward_hook(lambda *call: batches.append(len(call[2])))

    def gradients(*groups: list[Observation]) -> list[torch.Tensor]:
        extractor.zero_grad()
        for group in groups:
            features_of(extractor, group).square().sum().backward()
        return [weight.grad.clone() for weight in extractor.parameters()]

    together = gradients([one, other, one, one])
    assert batches == [2]
    for ours, theirs in zip(together, gradients([one], [other], [one], [one]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_the_same_bytes_on_two_threads() -> None:
    torch.manual_seed(0)
    extractor = FiLMExtractor(symbolic_space(1), channels=32, mission_size=32, pooling="none")
    env = TextEnv("MixedTrainLocal", history=1)
    # Eight times each: two numbers have one sum in either order.
    arrays = encode([env.reset(seed=i % 40)[0] for i in range(320)], 1)
    batch = {k: torch.from_numpy(v) for k, v in arrays.items()}
    slopes = torch.randn(320, extractor.features_dim)  # over the 32,768 numbers worth two threads
    found = gradients_on_two_threads(
        lambda: (extractor(batch) * slopes).sum(), extractor.parameters()
    )
    assert len(found) == 1


def test_pooling_at_the_end_takes_the_largest_of_all_cells() -> None:
    torch.manual_seed(0)
    extractor = FiLMExtractor(symbolic_space(3), channels=6, mission_size=5, pooling="end")
    found: list[torch.Tensor] = []
    extractor.blocks[-1].register_forward_hook(lambda *call: found.append(call[2]))
    features = features_of(extractor, [TextEnv("MixedTrainLocal").reset(seed=0)[0]])
    (cells,) = found
    torch.testing.assert_close(features, cells.flatten(2).max(2).values)
