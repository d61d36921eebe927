"""The command and what all its parts share: errors to exit codes, output to its stream."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from cyclopts import App, CycloptsError
from rich.console import Console

from palimpsest import errors

_T = TypeVar("_T")

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.InputError, 2),
    (errors.ReadingError, 2),
    (errors.ConfigurationError, 3),
    (errors.TransientError, 5),
    (errors.ModelError, 4),
    (errors.PalimpsestError, 1),
)
USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
GRACE_S = 1.5
"""From Ctrl-C to the end of the process, whatever it is in."""
STOPPED = "stopped; the same command goes on from the last finished chunk"

notes = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where everything goes that is not the result. Lines are left whole, for those who search them."""

app = App(
    name="palimpsest",
    help="Answer questions about input of any length with a model of fixed window.",
    help_epilogue="--debug with any command shows tracebacks. Exit codes: 0 answered; 1 a fault of "
    "the program; 2 a wrong file, question or flag; 3 a wrong setting or prompt file; 4 the "
    "endpoint, key, model name or window; 5 a passing failure, to be tried again; 130 stopped by "
    "Ctrl-C.",
    version=lambda: version("palimpsest-memory"),
    suppress_keyboard_interrupt=False,
)
app.command("palimpsest.cli.ask:ask", help="Answer a question about files of any length.")
app.command(
    "palimpsest.cli.estimate:estimate_command",
    name="estimate",
    help="Say what a question would take: calls, tokens, money and seconds.",
)
app.command(
    "palimpsest.cli.compare:compare_command",
    name="compare",
    help="Compare readers on questions of your own, at one budget.",
)
app.command(
    "palimpsest.cli.evaluate:evaluate_command",
    name="eval",
    help="Run a reader over a benchmark, at lengths, budgets and seeds.",
)
app.command(
    "palimpsest.cli.report:report",
    help="Show how runs came out: scores, failures, costs, comparisons.",
)
app.command("palimpsest.cli.report:curve", help="Draw scores of runs against budget or length.")
app.command(
    "palimpsest.cli.layout_study:layout_study_command",
    name="layout-study",
    help="Draw the memories of a run in another way and answer from them again.",
)
app.command(
    "palimpsest.cli.dataset:dataset",
    name="dataset",
    help="Make, filter and convert sets of long-context items.",
)
app.command("palimpsest.cli.train:train", help="Train a model by a recipe.")
app.command(
    "palimpsest.cli.scaling:export", help="Make a model of a checkpoint of a run on a cluster."
)
app.command("palimpsest.cli.train:rollouts", help="Show what a policy wrote in training.")
app.command(
    "palimpsest.cli.serve:serve",
    help="Serve an OpenAI-compatible gateway, the renderer and the viewer.",
)
app.command("palimpsest.cli.serve:key", help="Make an API key for the server.")
app.command("palimpsest.cli.view:view", help="Show readings, memories and runs in the browser.")
app.command("palimpsest.cli.mcp:mcp", name="mcp", help="Serve reading as tools to an MCP client.")
app.command("palimpsest.cli.show:show", help="Show a reading again, or list them all.")
app.command("palimpsest.cli.history:history", help="Show what each chunk did to the memory.")
app.command("palimpsest.cli.history:blame", help="Show where each line of a memory comes from.")
app.command("palimpsest.cli.history:lost", help="Tell in which rewrite a fact was lost.")
app.command("palimpsest.cli.replay:replay", help="Read on from a chunk of a reading, as a new one.")
app.command(
    "palimpsest.cli.memory:memory",
    name="memory",
    help="Save a memory, give it more whenever there is more, ask it.",
)
app.command("palimpsest.cli.page:page", help="Draw a memory as pages of so many visual tokens.")
app.command("palimpsest.cli.doctor:doctor", help="Check what a model and its endpoint can do.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its code. `--debug` shows tracebacks."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.exit(_run([argument for argument in given if argument != "--debug"], debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )  # fmt: skip
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads the output has seen enough, as `head` does; the exit must not write either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CycloptsError as error:
        _complain(str(error), "`palimpsest --help` lists commands and options")
        return USAGE_EXIT
    except errors.PalimpsestError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error), error.hint)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except (KeyboardInterrupt, asyncio.CancelledError):
        notes.print(STOPPED)
        return INTERRUPTED_EXIT
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(f"{type(error).__name__}: {error}", "this is a fault; --debug shows where")
        return 1
    return code if isinstance(code, int) else 0


def run_async(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs a command's coroutine to its end. Ctrl-C cancels it, and is not kept waiting by a
    thread or a server that does not stop."""
    return asyncio.run(_cancellable(work))


async def _cancellable(work: Coroutine[Any, Any, _T]) -> _T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            task.cancel()
            _leave_within(GRACE_S)
            await asyncio.wait([task])
        raise


def _leave_within(seconds: float) -> None:
    timer = threading.Timer(seconds, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    # What is read is on disk after every record, so there is nothing that this could lose.
    notes.show_cursor()
    notes.print(STOPPED)
    os._exit(INTERRUPTED_EXIT)


def _complain(message: str, hint: str) -> None:
    notes.print(f"error: {message}", style="red", markup=False)
    if hint:
        notes.print(f"  {hint}", markup=False)
