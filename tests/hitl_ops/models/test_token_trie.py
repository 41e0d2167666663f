from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.models.token_trie import TokenTrie

END = 9
COMPLETIONS = st.lists(st.lists(st.integers(0, 3), max_size=5).map(lambda ids: [*ids, END]), min_size=1, max_size=30)


def path(trie: TokenTrie, node: int) -> list[int]:
    tokens: list[int] = []
    while node:
        tokens.insert(0, trie.token[node])
        node = trie.parent[node]
    return tokens


@given(completions=COMPLETIONS)
def test_leaves_are_the_completions_and_nothing_else(completions):
    trie = TokenTrie(completions)
    leaves = {trie.completion(node): path(trie, node) for node in trie.nodes() if trie.completion(node) is not None}
    assert sorted(leaves.values()) == sorted({tuple(ids): ids for ids in completions}.values())
    for index, ids in leaves.items():
        assert completions.index(ids) == index
    assert trie.height == max(map(len, completions)) == max(trie.depth)
    assert all(trie.parent[node] < node for node in trie.nodes())


@given(completions=COMPLETIONS, data=st.data())
def test_every_walk_ends_at_a_completion(completions, data):
    trie = TokenTrie(completions)
    walked, node = trie.follow(0)
    while trie.completion(node) is None:
        token = data.draw(st.sampled_from(sorted(trie.children(node))))
        assert len(trie.children(node)) > 1, "follow stops at branches only"
        forced, node = trie.follow(trie.children(node)[token])
        walked += [token, *forced]
    assert walked == completions[trie.completion(node)]


def test_a_walk_makes_only_the_nodes_beside_its_path():
    trie = TokenTrie([[a, b, END] for a in range(10) for b in range(10, 20)])
    _, node = trie.follow(trie.children(0)[3])
    trie.children(node)
    assert len(trie.parent) == 1 + 10 + 10


@pytest.mark.parametrize("completions", [[], [[1], []]])
def test_nothing_to_choose_from_is_an_error(completions):
    with pytest.raises(ValueError, match="no completion"):
        TokenTrie(completions)


def test_a_prefix_is_an_error_not_a_guess():
    with pytest.raises(ValueError, match="prefix of another"):
        TokenTrie([[1, 2], [1, 2, 3]]).nodes()
