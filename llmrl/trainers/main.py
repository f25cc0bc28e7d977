"""How a recipe ends: errors that the user can mend are one line, an interruption is not an error."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable

from llmrl.errors import Interrupted, UserError


def one_line_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Exit with code 2 and one line for a UserError, and as a signalled process does after an interruption."""

    @functools.wraps(main)
    def guarded() -> None:
        try:
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except Interrupted as interruption:
            sys.exit(interruption.exit_code)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f" while writing {error.filename}" if error.filename else ""
            print(f"error: the disk is full{where}; make room, then go on with --train.resume auto", file=sys.stderr)
            sys.exit(2)

    return guarded
