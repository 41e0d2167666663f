"""How scripted people are: how many, how able, how fast, and what befalls them."""

from __future__ import annotations

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig


class PersonSettings(StrictConfig):
    """One kind of person."""

    skill: float = Field(default=1.0, ge=0, le=1, description="share of acts that serve the task; the others do not")
    speed: float = Field(default=1.0, gt=0, le=100, description="how quick the head is: pauses are divided by it")
    pause_s: float = Field(default=0.6, ge=0, le=60, description="mean pause before an act, seconds")
    by_name: float = Field(default=0.15, ge=0, le=1, description="share of walks by name (Navigate) instead of by keys")
    overrides: float = Field(
        default=0.05, ge=0, le=1, description="chance at each of the partner's decisions to put another in its place"
    )
    again: float = Field(default=0.5, ge=0, le=1, description="chance to try a failed task again, while attempts last")
    skips: float = Field(default=0.0, ge=0, le=1, description="chance to give a task up half-way")
    tutorial: bool = Field(default=True, description="play the tutorial, instead of leaving it at once")
    patience_s: float = Field(default=180.0, gt=0, le=3600, description="seconds after which a task is called done")

    drops_per_minute: float = Field(default=0.0, ge=0, le=60, description="broken connections a minute of play")
    away_s: float = Field(default=2.0, ge=0, le=600, description="mean seconds until a person is back after one")
    never_back: float = Field(default=0.0, ge=0, le=1, description="share of broken connections nobody returns from")


class PeopleSettings(StrictConfig):
    """A number of people at one server."""

    people: int = Field(default=4, ge=1, le=1000, description="how many")
    episodes: int = Field(default=0, ge=0, le=10_000, description="tries each makes, the tutorial aside; 0: any number")
    duration_s: float = Field(default=0.0, ge=0, description="seconds after which everybody leaves; 0: when they like")
    seed: int = Field(default=0, description="everything the people choose depends on it")
    arrive_s: float = Field(default=0.25, ge=0, le=60, description="seconds between two people's coming")
    person: PersonSettings = Field(default=PersonSettings(), description="what they are like")
