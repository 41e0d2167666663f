"""The one error a user ever sees: a line that names the thing and the remedy."""

from __future__ import annotations


class UserError(Exception):
    """A mistake or a circumstance the user can mend.

    The command line prints ``what``, then ``remedy``, and exits with 2; no traceback. Raise it at every
    boundary (config, file, socket, disk) where the cause lies outside Flywheel's own code.

    Args:
        what: names the thing and what is wrong with it ("config key 'lerning_rate' is unknown").
        remedy: what to do about it ("did you mean 'learning_rate'?"); may be empty.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}: {remedy}" if remedy else what)


class CannotWrite(UserError):
    """The disk is full or read-only, or something is in the way: once that is mended, the same again succeeds."""
