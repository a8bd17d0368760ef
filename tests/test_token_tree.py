"""Texts as a prefix tree: every beginning is a node once, and leads back to its text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.token_tree import TOKEN_DTYPE, Branching, TokenTree, build_token_tree

TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=6).map(tuple), min_size=1, max_size=8)


def packed(texts: list[tuple[int, ...]], n_learned: int | None = None) -> TokenTree:
    as_bytes = [np.array(text, TOKEN_DTYPE).tobytes() for text in texts]
    return build_token_tree(as_bytes, "cpu", n_learned)


def read_back(nodes: Branching, tokens: list[int]) -> list[tuple[int, ...]]:
    """The tokens on the way from the root to the end of each text."""
    found = []
    for row in nodes.ends.tolist():
        text: list[int] = []
        while row > 0:
            text.insert(0, tokens[row - 1])
            row = int(nodes.parents[row - 1])
        found.append(tuple(text))
    return found


def beginnings(texts: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {text[:end] for text in texts for end in range(1, len(text) + 1)}


@given(texts=TEXTS, share=st.floats(0, 1))
def test_every_beginning_is_one_node_on_the_way_to_its_texts(
    texts: list[tuple[int, ...]], share: float
) -> None:
    n_learned = max(1, round(share * len(texts)))
    tree = packed(texts, n_learned)
    tokens = tree.vocabulary[tree.ids].tolist()
    assert sorted(set(tokens)) == tree.vocabulary.tolist()
    assert tree.places is not None
    learned = [tokens[place] for place in tree.places.tolist()]
    trees = ((tree.nodes, tokens, texts), (tree.learned, learned, texts[:n_learned]))
    for nodes, theirs, whose in trees:
        assert read_back(nodes, theirs) == whose
        assert all(nodes.counts)
        assert len(theirs) == sum(nodes.counts) == len(beginnings(whose))
        for depth, count in enumerate(nodes.counts, start=1):
            assert count == sum(len(text) == depth for text in beginnings(whose))
    everything = packed(texts)
    assert everything.places is None
    assert everything.learned is everything.nodes
    assert read_back(everything.nodes, tokens) == texts


@given(texts=TEXTS)
def test_a_depth_is_straight_where_its_nodes_follow_all_those_before_one_by_one(
    texts: list[tuple[int, ...]],
) -> None:
    nodes = packed(texts).nodes
    earlier, first = [0], 1
    parents = iter(nodes.parents.tolist())
    for count, straight in zip(nodes.counts, nodes.straight, strict=True):
        assert straight == ([next(parents) for _ in range(count)] == earlier)
        earlier = list(range(first, first + count))
        first += count


@pytest.mark.parametrize("n_learned", [None, 1, 2])
def test_texts_without_tokens_end_at_the_root(n_learned: int | None) -> None:
    tree = packed([(), ()], n_learned)
    assert tree.nodes.ends.tolist() == [0, 0]
    assert tree.nodes.counts == ()
