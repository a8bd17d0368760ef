"""BabyAI's network: a convolutional net over the view, modulated by the mission.

Source: BabyAI 1.1 (Hui et al. 2020), FiLM (Perez et al. 2018). Instead of BabyAI's LSTM the
network sees the last views stacked, the same short history as the text agents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.symbolic_env import N_CODES, N_WORDS, PAD_WORD
from agents.text_encoder import TextEncoder
from agents.token_tree import TOKEN_DTYPE, build_token_tree

Pooling = Literal["end", "early", "none"]


class BagOfCodes(nn.Module):
    """BabyAI 1.1's bag-of-words embedding: a cell is the sum of its codes' embeddings.

    Every stacked view has embeddings of its own, and they are added up too.
    """

    def __init__(self, history: int, channels: int) -> None:
        """Builds ``channels`` numbers for each code of each of ``history`` views."""
        super().__init__()
        self.types, self.colours, self.states = (
            nn.Parameter(torch.randn(history, n, channels) / (3 * history) ** 0.5) for n in N_CODES
        )

    def forward(self, views: Tensor) -> Tensor:
        """Embeds (batch, columns, rows, 3·history) codes: (batch, channels, columns, rows)."""
        batch, columns, rows, stacked = views.shape
        kind, colour, state = views.view(batch, columns, rows, stacked // 3, 3).unbind(4)
        # One lookup instead of three: a row for each combination of codes in each view.
        table = (
            self.types[:, :, None, None]
            + self.colours[:, None, :, None]
            + self.states[:, None, None]
        )
        _, n_colours, n_states = N_CODES
        row = (kind * n_colours + colour) * n_states + state
        row = row + math.prod(N_CODES) * torch.arange(stacked // 3, device=views.device)
        return F.embedding(row, table.flatten(0, 3)).sum(3).permute(0, 3, 1, 2)


class FiLMBlock(nn.Module):
    """Two convolutions, the second one modulated by the mission, around a residual path.

    y = x + relu((1 + γ(m)) · conv(relu(conv(x))) + β(m)). BabyAI normalises over the batch as
    well, which would make acting and learning different functions; that is left out.
    """

    def __init__(self, channels: int, mission_size: int) -> None:
        """Builds the block for ``channels`` in and out."""
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 3, padding=1)
        self.after = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(mission_size, 2 * channels)

    def forward(self, x: Tensor, mission: Tensor) -> Tensor:
        """Modulates (batch, channels, w, h) features by (batch, mission_size) missions."""
        gamma, beta = self.modulation(mission)[:, :, None, None].chunk(2, 1)
        out = self.after(F.relu(self.before(x)))
        return x + F.relu(torch.addcmul(out + beta, gamma, out))


class FiLMExtractor(BaseFeaturesExtractor):
    """Features of views and mission for stable-baselines3's actor and critic."""

    def __init__(
        self,
        observation_space: spaces.Dict,
        channels: int = 128,
        mission_size: int = 128,
        pooling: Pooling = "end",
    ) -> None:
        """Builds the network.

        Args:
            observation_space: What ``symbolic_space`` returns.
            channels: Feature maps of every convolution.
            mission_size: Size of word embeddings and of the GRU's state.
            pooling: ``"end"``: 7×7 cells up to one maximum over all of them (BabyAI 1.1);
                ``"early"``: halved after each of the first two convolutions (BabyAI 1.0);
                ``"none"``: the first two convolutions shrink the view to 3×3 cells, none of which
                is pooled, so that the features say where things are.
        """
        super().__init__(observation_space, channels * (9 if pooling == "none" else 1))
        views = observation_space["views"].shape
        assert views is not None
        self.view_embedding = BagOfCodes(views[-1] // 3, channels)
        self.word_embedding = nn.Embedding(N_WORDS, mission_size, padding_idx=PAD_WORD)
        self.mission_encoder = TextEncoder(mission_size, mission_size)
        self.pooling = pooling
        padding = 0 if pooling == "none" else 1
        halve = nn.MaxPool2d(2) if pooling == "early" else nn.Identity()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, 2 if pooling == "early" else 3, padding=padding),
            nn.ReLU(),
            halve,
            nn.Conv2d(channels, channels, 3, padding=padding),
            nn.ReLU(),
            halve,
        )
        self.blocks = nn.ModuleList(FiLMBlock(channels, mission_size) for _ in range(2))

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Extracts features.

        Args:
            observations: ``views`` (batch, 7, 7, n) and ``mission`` (batch, words), any dtype.

        Returns:
            (batch, features_dim) features.
        """
        views, words = observations["views"], observations["mission"]
        codes = torch.cat([views.flatten(1), words], 1).to(torch.uint8).cpu().numpy()
        # Walls ahead, turns to and fro: with one view, four of ten in a minibatch come back.
        _, first, which = np.unique(
            codes.view((np.void, codes.shape[1])), return_index=True, return_inverse=True
        )
        mission = self._encode_mission(codes[first, -words.shape[1] :])
        x = self.convolutions(self.view_embedding(views[first].long()))
        for block in self.blocks:
            x = block(x, mission)
        features: Tensor = x.flatten(1) if self.pooling == "none" else x.amax((2, 3))
        # With several threads, indexing adds the gradients of what is repeated in no fixed order.
        return F.embedding(torch.from_numpy(which.ravel()).to(features.device), features)

    def _encode_mission(self, words: NDArray[np.uint8]) -> Tensor:
        """(batch, mission_size) states of the GRU after the last of (batch, MAX_WORDS) words."""
        texts = [row[row != PAD_WORD].astype(TOKEN_DTYPE).tobytes() for row in words]
        embeddings = self.word_embedding.weight
        states: Tensor = self.mission_encoder(
            build_token_tree(texts, embeddings.device), embeddings
        )
        return states
