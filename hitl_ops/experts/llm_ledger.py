"""What the requests to an endpoint have cost so far, and the limit that stops them."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.shared_database import SharedDatabase

_SCHEMA = """
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (id TEXT PRIMARY KEY, tokens INTEGER NOT NULL, money REAL NOT NULL)
    WITHOUT ROWID;
"""


class BudgetExhausted(UserError):
    """The next request might exceed the budget. Whoever runs episodes stops and keeps what is finished."""


class BudgetConfig(StrictConfig):
    """How much a rollout may cost, over all its threads, processes and reruns."""

    max_tokens: int | None = Field(
        default=50_000_000,
        gt=0,
        description="tokens read and written in all; none = no limit. 400 episodes of two agents, 15 decisions each "
        "at 2,000 tokens, come to 24 million: a runaway is stopped at about twice that",
    )
    max_money: float | None = Field(
        default=None, gt=0, description="money in all, in the currency of the prices; none = no limit"
    )
    prompt_price: float = Field(
        default=0.0, ge=0, description="price of a million tokens read; 0 for a server of your own"
    )
    completion_price: float = Field(default=0.0, ge=0, description="price of a million tokens written")

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


class LLMUsage(BaseModel):
    """What was asked and what it cost, over all processes and reruns that share a ledger."""

    model_config = ConfigDict(extra="forbid")

    requests: int = Field(default=0, description="requests that brought an answer")
    cached: int = Field(default=0, description="answers taken from the cache")
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    retries: int = Field(default=0, description="requests sent again after 429, 5xx, a time-out or a broken connection")
    unsettled_tokens: int = Field(
        default=0,
        description="tokens set aside for requests under way or cut off by a kill; they count against the budget",
    )
    unsettled_money: float = 0.0


class LLMLedger:
    """The account of one rollout: a SQLite file that all its processes and reruns share.

    Before a request the most it can cost is set aside, after it the true cost is booked. So the budget is never
    exceeded, however many processes ask at once; what a killed process had set aside stays booked, because its
    request may have been billed.

    Args:
        folder: where ``ledger.sqlite`` lies.
        budget: the limits and prices.
    """

    def __init__(self, folder: Path, budget: BudgetConfig) -> None:
        self.budget = budget
        self._database = SharedDatabase(
            folder / "ledger.sqlite", _SCHEMA, remedy="delete it; the budget then counts from nothing again"
        )

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> str:
        """Set the cost of a request aside.

        Args:
            prompt_tokens: the most tokens it may read.
            completion_tokens: the most tokens it may write.

        Returns:
            A mark to settle or release it by.

        Raises:
            BudgetExhausted: it might exceed the budget.
        """
        tokens = prompt_tokens + completion_tokens
        money = self.budget.price(prompt_tokens, completion_tokens)
        mark = secrets.token_hex(8)
        with self._database.transaction() as connection:
            spent = dict(connection.execute("SELECT name, value FROM totals"))
            held_tokens, held_money = connection.execute(
                "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(money), 0) FROM reservations"
            ).fetchone()
            used = int(spent.get("prompt_tokens", 0) + spent.get("completion_tokens", 0)) + held_tokens
            paid = spent.get("money", 0.0) + held_money
            if self.budget.max_tokens is not None and used + tokens > self.budget.max_tokens:
                raise BudgetExhausted(
                    f"token budget exhausted: {used:,} of {self.budget.max_tokens:,} tokens are used, "
                    f"the next request may take {tokens:,}",
                    "raise budget.max_tokens and run again; what is finished is kept",
                )
            if self.budget.max_money is not None and paid + money > self.budget.max_money:
                raise BudgetExhausted(
                    f"money budget exhausted: {paid:.4f} of {self.budget.max_money:.4f} is spent, "
                    f"the next request may cost {money:.4f}",
                    "raise budget.max_money and run again; what is finished is kept",
                )
            connection.execute("INSERT INTO reservations VALUES (?, ?, ?)", (mark, tokens, money))
        return mark

    def settle(self, mark: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Book what a request really took, in place of what was set aside."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM reservations WHERE id = ?", (mark,))
            self._add(connection, "requests", 1)
            self._add(connection, "prompt_tokens", prompt_tokens)
            self._add(connection, "completion_tokens", completion_tokens)
            self._add(connection, "money", self.budget.price(prompt_tokens, completion_tokens))

    def release(self, mark: str) -> None:
        """Give back what was set aside: the endpoint refused the request, so it bills nothing."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM reservations WHERE id = ?", (mark,))

    def count(self, name: str) -> None:
        """Count one ``"cached"`` answer or one of the ``"retries"``."""
        with self._database.transaction() as connection:
            self._add(connection, name, 1)

    def usage(self) -> LLMUsage:
        """The account as it stands."""
        with self._database.reading() as connection:
            spent = dict(connection.execute("SELECT name, value FROM totals"))
            tokens, money = connection.execute(
                "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(money), 0) FROM reservations"
            ).fetchone()
        return LLMUsage(
            requests=int(spent.get("requests", 0)),
            cached=int(spent.get("cached", 0)),
            prompt_tokens=int(spent.get("prompt_tokens", 0)),
            completion_tokens=int(spent.get("completion_tokens", 0)),
            money=round(spent.get("money", 0.0), 9),
            retries=int(spent.get("retries", 0)),
            unsettled_tokens=int(tokens),
            unsettled_money=round(float(money), 9),
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @staticmethod
    def _add(connection: sqlite3.Connection, name: str, amount: float) -> None:
        connection.execute(
            "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, amount),
        )
