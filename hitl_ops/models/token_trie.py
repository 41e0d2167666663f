"""The admissible completions as a tree of tokens: what may come next, and what must."""

from __future__ import annotations

from collections.abc import Sequence


class TokenTrie:
    """A tree whose paths from the root (node 0) to the leaves are the completions' token ids.

    Nodes are numbered in the order they are met, parents before children.

    Args:
        completions: token ids of each completion; none may be empty or a prefix of another. Equal ones share
            a leaf, which stands for the first of them.

    Raises:
        ValueError: there is no completion, one is empty, or one is a prefix of another.

    Attributes:
        children: per node, token id → node.
        parent: per node, the node above; -1 for the root.
        token: per node, the token that leads to it; -1 for the root.
        depth: per node, its number of tokens from the root.
        completion: per node, index of the completion that ends there; -1 where none does.
    """

    def __init__(self, completions: Sequence[Sequence[int]]) -> None:
        if not completions:
            raise ValueError("no completion to choose from")
        self.children: list[dict[int, int]] = [{}]
        self.parent = [-1]
        self.token = [-1]
        self.depth = [0]
        self.completion = [-1]
        for index, ids in enumerate(completions):
            node = 0
            for token in ids:
                below = self.children[node].get(token)
                if below is None:
                    below = len(self.parent)
                    self.children[node][token] = below
                    self.children.append({})
                    self.parent.append(node)
                    self.token.append(token)
                    self.depth.append(self.depth[node] + 1)
                    self.completion.append(-1)
                node = below
            if self.completion[node] == -1:
                self.completion[node] = index
        for node, index in enumerate(self.completion):
            if (index == -1) != bool(self.children[node]):
                raise ValueError("a completion is empty or a prefix of another")

    def follow(self, node: int) -> tuple[list[int], int]:
        """Go on from ``node`` while there is only one way.

        Returns:
            The tokens passed and the node reached, which branches or is a leaf.
        """
        tokens: list[int] = []
        while len(self.children[node]) == 1:
            ((token, node),) = self.children[node].items()
            tokens.append(token)
        return tokens, node
