"""habitat_sim.physics: kinds of motion (PhysicsBindings.cpp)."""

import enum


class MotionType(enum.Enum):
    """How an object moves."""

    UNDEFINED = -1
    STATIC = 0
    KINEMATIC = 1
    DYNAMIC = 2
