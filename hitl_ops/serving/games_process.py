"""Plays games in a process of their own, which asks the agent in this one by HTTP.

The two sides need not share libraries, accelerators or their end: if an engine takes its process down, the agent and
what it has learned stay. ``python -m hitl_ops.serving.games_process`` is the other side; it is told by its standard
input, a JSON line each, and reports by its standard output. Games go from it straight to disk.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.experts.llm_ledger import LLMLedger, LLMUsage
from hitl_ops.records.round_games import RoundGame, game_name, read_round_game
from hitl_ops.rollouts.game_agent import GameAgent
from hitl_ops.rollouts.text_players import TextPlayersConfig, make_players
from hitl_ops.rollouts.text_rounds import Collector, ExpertStopped, RoundBatch, RoundPlayer
from hitl_ops.serving.agent_client import AgentClient
from hitl_ops.serving.agent_server import AgentServer
from hitl_ops.serving.child_process import ENDS_WITH, end_with_starter

AgentLink = Literal["in_process", "http"]
_GOODBYE_S = 10.0


class _Begin(BaseModel):
    """The first line: who plays, and where a language model's account lies."""

    model_config = ConfigDict(extra="forbid")

    players: TextPlayersConfig
    folder: Path


class _Play(BaseModel):
    """Games to play, and the agent to ask."""

    model_config = ConfigDict(extra="forbid")

    batch: RoundBatch
    folder: Path
    url: str
    token: str


class _Step(BaseModel):
    kind: Literal["step"] = "step"
    running: int
    steps: int


class _Done(BaseModel):
    kind: Literal["done"] = "done"


class _Failed(BaseModel):
    kind: Literal["failed"] = "failed"
    what: str
    remedy: str
    by: Literal["expert", "disk", "other"]


_Report = Annotated[_Step | _Done | _Failed, Field(discriminator="kind")]
_REPORT: TypeAdapter[_Step | _Done | _Failed] = TypeAdapter(_Report)


class GamesProcess:
    """Implements ``rollouts.text_rounds.Collector`` by a process of its own, started when it is first needed.

    Args:
        players: which worlds and which expert.
        folder: where a language model's account and answers are kept.
    """

    def __init__(self, players: TextPlayersConfig, folder: Path) -> None:
        self._players, self._folder = players, folder
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._process.pid if self._process is not None else None

    def play(
        self, batch: RoundBatch, agent: GameAgent, folder: Path, on_step: Callable[[int, int], None]
    ) -> list[RoundGame]:
        """See ``RoundPlayer.play``.

        Raises:
            ExpertStopped: the expert has no more budget or its endpoint is gone; games that have ended are kept.
            UserError: a game cannot be played, or the process ended.
        """
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        with AgentServer(agent, batch.picture) as server:
            order = _Play(batch=batch, folder=folder.absolute(), url=server.url, token=server.token)
            try:
                _say(process.stdin, order)
                while not isinstance(report := self._report(process.stdout), _Done):
                    if isinstance(report, _Failed):
                        if report.by == "other":
                            self.close()  # perhaps it could not even begin
                        raise _error(report)
                    on_step(report.running, report.steps)
            except BrokenPipeError:
                raise self._gone() from None
            except BaseException as error:
                if not isinstance(error, UserError):
                    self.close()  # whoever stops listening must not find old reports next time
                raise
        return [read_round_game(folder / game_name(batch.phase, batch.round, number)) for number, _ in batch.games]

    def usage(self) -> LLMUsage | None:
        """What the expert has asked and paid for so far; None where it costs nothing."""
        if self._players.expert != "llm" or self._players.llm is None:
            return None
        ledger = LLMLedger(self._folder, self._players.llm.client.budget)
        try:
            return ledger.usage()
        finally:
            ledger.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hitl_ops.serving.games_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, ENDS_WITH: str(os.getpid())},
            )
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # told when it is asked to play
                _say(self._process.stdin, _Begin(players=self._players, folder=self._folder.absolute()))
        return self._process

    def _report(self, pipe: IO[str]) -> _Step | _Done | _Failed:
        line = pipe.readline()
        if not line:
            raise self._gone()
        try:
            return _REPORT.validate_json(line)
        except ValidationError:
            self.close()
            raise UserError("the process that plays games reports nonsense", "run again") from None

    def _gone(self) -> UserError:
        process = self._process
        self.close()
        code = process.returncode if process is not None else None
        return UserError(
            f"the process that plays games ended (exit status {code})",
            "see its messages above, then run again; finished games are kept",
        )


def make_collector(link: AgentLink, players: TextPlayersConfig, folder: Path) -> Collector:
    """What plays games: in this process, or in one of their own that asks the agent by HTTP.

    Args:
        link: how games and agent are connected.
        players: which worlds and which expert.
        folder: where a language model's account and answers are kept.

    Raises:
        UserError: a language model's key is missing, or a money budget has no prices.
    """
    if link == "http":
        return GamesProcess(players, folder)
    return RoundPlayer(make_players(players, folder))


def _error(report: _Failed) -> UserError:
    kinds = {"expert": ExpertStopped, "disk": CannotWrite, "other": UserError}
    return kinds[report.by](report.what, report.remedy)


def _say(pipe: IO[str], message: BaseModel) -> None:
    pipe.write(message.model_dump_json() + "\n")
    pipe.flush()


def main() -> int:
    """Play what is asked for until the standard input ends."""
    end_with_starter()
    # Whatever a library prints must not come between reports.
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    player: RoundPlayer | None = None
    try:
        for line in sys.stdin:
            try:
                if player is None:
                    begin = _Begin.model_validate_json(line)
                    player = RoundPlayer(make_players(begin.players, begin.folder))
                else:
                    _played(player, _Play.model_validate_json(line), reports)
                    _say(reports, _Done())
            except UserError as error:
                by = (
                    "expert"
                    if isinstance(error, ExpertStopped)
                    else "disk"
                    if isinstance(error, CannotWrite)
                    else "other"
                )
                _say(reports, _Failed(what=error.what, remedy=error.remedy, by=by))
                if player is None:
                    return 2
    except BrokenPipeError:
        return 1  # nobody listens any more
    finally:
        if player is not None:
            player.close()
    return 0


def _played(player: RoundPlayer, order: _Play, reports: IO[str]) -> None:
    with AgentClient(order.url, order.token) as agent:
        player.play(
            order.batch, agent, order.folder, lambda running, steps: _say(reports, _Step(running=running, steps=steps))
        )


if __name__ == "__main__":
    sys.exit(main())
