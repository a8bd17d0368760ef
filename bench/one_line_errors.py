"""Errors on the command line: one line on stderr, an exit code, no traceback."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from bench.processes import first_ending, place

USER_ERROR = 2
RUN_FAILED = 1
_LONGEST = 1000


class OneLineErrors(click.Group):
    """A group whose errors are one line on stderr, without usage or traceback."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Runs the command line and exits.

        Args:
            *args: Passed to Click.
            **kwargs: Passed to Click.
        """
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else "")
            code = USER_ERROR
        except click.ClickException as error:
            code = complain(error.format_message(), USER_ERROR)
        except (click.Abort, KeyboardInterrupt):
            code = complain("interrupted", 130)
        except BrokenPipeError:  # the reader, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except Exception as error:
            known = _code_of(error)
            if known is None:
                raise
            code = complain(_in_words(error), known)
        sys.exit(code or 0)


def complain(message: str, code: int) -> int:
    """Prints one line on stderr; of several processes of a run, the first to end does.

    Args:
        message: What went wrong and what to do.
        code: An exit code.

    Returns:
        The exit code.
    """
    if first_ending(message)[0] == place()[0]:
        click.echo(f"glam: {in_one_line(message)}", err=True)
    return code


def in_one_line(message: str) -> str:
    """A message without line ends, cut where it goes on for too long (a tensor, a whole file)."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _code_of(error: Exception) -> int | None:
    """The exit code of an error that a person can do something about."""
    from agents.base import AgentError
    from bench.interruption import Interrupted
    from bench.storage.checkpoint import CheckpointError
    from bench.storage.parsing import RecordError
    from bench.storage.run import RunError, RunFailed
    from bench.validation import ConfigError

    if isinstance(error, Interrupted):
        return error.exit_code
    if isinstance(error, RunFailed):
        return RUN_FAILED
    user = (AgentError, CheckpointError, ConfigError, OSError, RecordError, RunError)
    return USER_ERROR if isinstance(error, user) else None
