"""The exceptions that more than one room raises."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the message is one line that names the cause."""


class Interrupted(Exception):
    """The run was asked to stop; its state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.exit_code = 128 + number


class VerifierError(Exception):
    """A verifier could not judge: the reference is unreadable or its own machinery failed; never a wrong answer."""
