"""The admissible completions as a tree of tokens: what may come next, and what must."""

from __future__ import annotations

from collections.abc import Sequence


class TokenTrie:
    """A tree whose paths from the root (node 0) to the leaves are the completions' token ids.

    Nodes are made when somebody asks for them: a walk from root to leaf touches few of hundreds. Parents have
    lower numbers than their children.

    Args:
        completions: token ids of each completion; none may be empty or a prefix of another. Equal ones share
            a leaf, which stands for the first of them.

    Raises:
        ValueError: there is no completion, or one is empty.

    Attributes:
        parent: per node, the node above; -1 for the root.
        token: per node, the token that leads to it; -1 for the root.
        depth: per node, its number of tokens from the root.
        height: tokens of the longest completion.
    """

    def __init__(self, completions: Sequence[Sequence[int]]) -> None:
        if not completions or not all(completions):
            raise ValueError("there is no completion to choose from, or an empty one")
        self._completions = completions
        self.parent = [-1]
        self.token = [-1]
        self.depth = [0]
        self.height = max(map(len, completions))
        self._members = [list(range(len(completions)))]
        self._children: list[dict[int, int] | None] = [None]

    def children(self, node: int) -> dict[int, int]:
        """Token id → node, for every token that may follow; empty at a leaf.

        Raises:
            ValueError: a completion that ends here is a prefix of another.
        """
        known = self._children[node]
        if known is not None:
            return known
        depth = self.depth[node]
        below: dict[int, list[int]] = {}
        ended = 0
        for index in self._members[node]:
            ids = self._completions[index]
            if len(ids) == depth:
                ended += 1
            else:
                below.setdefault(ids[depth], []).append(index)
        if ended and below:
            raise ValueError("a completion is a prefix of another")
        made: dict[int, int] = {}
        for token, members in below.items():
            made[token] = len(self.parent)
            self.parent.append(node)
            self.token.append(token)
            self.depth.append(depth + 1)
            self._members.append(members)
            self._children.append(None)
        self._children[node] = made
        return made

    def completion(self, node: int) -> int | None:
        """Index of the completion that ends at ``node``; None where it goes on."""
        return None if self.children(node) else self._members[node][0]

    def follow(self, node: int) -> tuple[list[int], int]:
        """Go on from ``node`` while there is only one way.

        Returns:
            The tokens passed and the node reached, which branches or is a leaf.
        """
        tokens: list[int] = []
        while len(below := self.children(node)) == 1:
            ((token, node),) = below.items()
            tokens.append(token)
        return tokens, node

    def nodes(self) -> range:
        """Make every node; parents before children."""
        node = 0
        while node < len(self.parent):
            self.children(node)
            node += 1
        return range(node)
