"""One update shared by several processes: rows dealt out, scores gathered, gradients summed.

Every process holds the same weights and environments (``accelerate launch``), so what is summed or
gathered is the same everywhere, and so is every decision that follows from it. Unlike a wrapper of
the model, this keeps the exact mean over a minibatch however unevenly it is dealt out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.base import AgentContext
from agents.language_model.precision import Chosen
from agents.ppo import Policy
from envs.observation import Observation


@dataclass(frozen=True)
class Shard:
    """The part of the work that is one process's.

    Attributes:
        count: Number of processes.
        index: This process's number.
    """

    count: int
    index: int

    @classmethod
    def of(cls, context: AgentContext) -> Shard:
        """The shard of the process that an agent is built in."""
        return cls(context.world_size, context.rank)

    def rows(self, lengths: Sequence[int]) -> list[int]:
        """Deals rows out by length, so that every process pads and computes about as much.

        Args:
            lengths: Token count of each row.

        Returns:
            Indices of this process's rows; none where there are fewer rows than processes.
        """
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return order[self.index :: self.count]

    def scoring(self, policy: Policy) -> Policy:
        """A policy whose rows are scored by all processes and gathered in each.

        Args:
            policy: Scores rows in this process.

        Returns:
            The same function of the observations, with the same bytes in every process.
        """
        if self.count == 1:
            return policy
        from accelerate.utils import gather

        def shared(observations: tuple[Observation, ...]) -> tuple[Tensor, Tensor]:
            # Equal shares, as gathering wants them: the first rows are scored twice if need be.
            each = -(-len(observations) // self.count)
            first = self.index * each
            rows = [i % len(observations) for i in range(first, first + each)]
            log_policy, values = policy(tuple(observations[i] for i in rows))
            mine = torch.cat([log_policy, values[:, None]], 1).contiguous()
            scores: Tensor = gather(mine)[: len(observations)]
            return scores[:, :-1], scores[:, -1]

        return shared

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replaces each gradient by its sum over the processes."""
        if self.count == 1:
            return
        for parameter in parameters:
            gradient = parameter.grad
            parameter.grad = self.sum(torch.zeros_like(parameter) if gradient is None else gradient)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        total: Tensor = reduce(tensor, reduction="sum")
        return total

    def agreed(self, precision: Chosen) -> Chosen:
        """The main process's choice; machines need not measure alike."""
        if self.count == 1:
            return precision
        from accelerate.utils import broadcast_object_list

        chosen: list[Chosen] = broadcast_object_list([precision])
        return chosen[0]
