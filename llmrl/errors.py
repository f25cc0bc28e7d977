"""The one exception that a user sees as a single line instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the message is one line that names the cause."""
