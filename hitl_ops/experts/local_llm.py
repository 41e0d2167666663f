"""The ``local`` expert: an open language model on this machine teaches.

It gets the very prompt the student will be trained on, with no chain of thought to be cut out afterwards, headed
by a few lines on the tools, which a model that never saw the prompt dialect needs. What it may answer is
constrained to the admissible actions by whoever decodes, so no reply is ever wasted. The decoding itself belongs
to the models; this expert is handed one and knows it as a planner only.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.planner import Observation, Planner, Reply

if TYPE_CHECKING:
    from hitl_ops.contracts.episode import Episode

# Fixed wording: a heading that changed from one decision to the next would undo the reuse of earlier prompts.
HEADING = """\
You decide for one of two agents who work together in a home. Name the next action, one that brings the task forward.
Explore[room] looks around a room and finds objects. Navigate[name] walks to an object or a piece of furniture.
Pick[object] takes an object that is near. Place[object, on, furniture, None, None] puts down what is held; within
instead of on puts it inside. Open[furniture] and Close[furniture] move doors and drawers. Clean, PowerOn, PowerOff,
Fill and Pour change an object that is near. Wait[] lets time pass. Done[] ends the work once the task is complete.

"""


class LocalLLM:
    """A teacher made of a decoder that is constrained to the admissible actions.

    Args:
        decoder: chooses one of ``observation.admissible`` as the continuation of ``observation.prompt``.
        name: the model's name; the policy id is ``local:<name>``.
        heading: text put before every prompt; empty for a model trained on the dialect.
    """

    def __init__(self, decoder: Planner, name: str, *, heading: str = HEADING) -> None:
        self._decoder = decoder
        self._name = name
        self._heading = heading

    @property
    def policy_id(self) -> str:
        """Names the teacher in every record."""
        return f"local:{self._name}"

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode; the world stays closed to this expert, which knows what its agent knows."""
        self._decoder.start(episode, None)

    def decide(self, observation: Observation) -> Reply:
        """Choose one of the admissible actions.

        Raises:
            UserError: the prompt is longer than the model can read.
        """
        return self._decoder.decide(dataclasses.replace(observation, prompt=self._heading + observation.prompt))
