"""`isr`: the commands, wired; and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import gc
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from isr.errors import ISRError

# What typer raises for a wrong command line: click's own, or that of the copy of click inside newer typers.
ClickException: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

# Each is the function of its name in the module of its name.
COMMANDS = (
    "predict",
    "page",
    "evaluate",
    "compare",
    "degrade",
    "train",
    "convert",
    "export",
    "quantise",
    "engines",
    "models",
    "config",
)

BEGINNING = """\
isr predict photo.jpg     make a photograph twice as large
isr predict holiday.mp4   the same for a video
isr models                list the networks to choose from
isr page                  all this in the browser

isr --help lists all commands.\
"""


# What stands for a value in the help.
WORDS = {int: "N", float: "X", str: "NAME", Path: "PATH"}


class Command(TyperCommand):
    """A command whose help names values in words, and which reads plain values at once."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _reading_at_once(_in_words(super().get_params(ctx)))


class Group(TyperGroup):
    """The same of all commands together."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _reading_at_once(_in_words(super().get_params(ctx)))


def _in_words(parameters: list[Any]) -> list[Any]:
    """Let the help say `N` where newer typers say `<int>`, and nothing of a flag or an argument."""
    for parameter in parameters:
        kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
        elif getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.metavar is None and kind is not None:
            (kind,) = get_args(kind) or (kind,)
            parameter.metavar = WORDS.get(kind)
    return parameters


def _reading_at_once(parameters: list[Any]) -> list[Any]:
    """Let values that are what is asked for already pass by typer's reading: newer typers import pydantic for it."""
    for parameter in parameters:
        if hasattr(parameter, "type_descriptor"):
            parameter.process_value = partial(_process_value, parameter, type(parameter).process_value)
    return parameters


def _process_value(parameter: Any, read: Callable[..., Any], context: Any, value: Any) -> Any:
    asked = parameter.type_descriptor.annotation
    if parameter.multiple or parameter.nargs != 1:
        plain = asked == list[str] and bool(value) and all(type(item) is str for item in value)
        value = list(value) if plain else value
    else:
        plain = type(value) is asked or (value is None and not parameter.required)
    if not plain:
        return read(parameter, context, value)
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def version(value: bool) -> None:
    if value:
        from isr import __version__

        typer.echo(f"isr {__version__}")
        raise typer.Exit


def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=version, is_eager=True)
    ] = False,
) -> None:
    """Take what every command knows."""
    if context.invoked_subcommand is None:
        typer.echo(BEGINNING)


def app_of(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """Make the program of some commands: reading the options of all takes longer than most of them need to start."""
    app = typer.Typer(
        name="isr",
        cls=Group,
        invoke_without_command=True,
        help="Make photographs and video larger and sharper.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for name in names:
        function = getattr(import_module(f"isr.cli.{name}"), name)
        # A line of the source ends anywhere, one of the help where the terminal does.
        help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or "")
        app.command(name, cls=Command, help=help)(function)
    return app


def run(arguments: list[str]) -> int:
    """Run one command line in this process.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code: 0 all done, 1 something failed and the rest is done, 2 the request is wrong, 3 the machine
        cannot, 130 interrupted. Errors are one line on stderr; with `--debug` they are raised.
    """
    # TensorFlow's own chatter; set it to 0 to see it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A name of a file need not be text.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    # Of every command, wherever it stands.
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    names = arguments[:1] if arguments[:1] and arguments[0] in COMMANDS else COMMANDS
    try:
        program = app_of(names)
        _collect_garbage()
        code = program(args=arguments, prog_name="isr", standalone_mode=False)
    except ClickException as error:
        said = error.format_message()
        # Without words it was the help itself.
        return _say(f"{said} (isr --help, isr COMMAND --help)", 2) if said else 2
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted; what was finished is whole", 130)
    except ISRError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except MemoryError:
        if debug:
            raise
        return _say("not enough memory; try a smaller --tile", 3)
    except OSError as error:
        if debug:
            raise
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _say(text, 3 if error.errno == errno.ENOSPC else 1)
    return code if isinstance(code, int) else 0


def _collect_garbage() -> None:
    """Let Python look for garbage again, though not among what was imported, where the entry point had it wait."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _say(text: str, code: int) -> int:
    print(f"isr: {' '.join(text.split())}", file=sys.stderr)
    return code


def main() -> None:
    """Run the command line of this process, and exit with its code: the entry point."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        # A line for the user, not a place in the code.
        _say(str(message), 0)

    warnings.showwarning = show
    code = run(sys.argv[1:])
    # The process ends: what is in memory need not be looked through for what could be freed.
    gc.freeze()
    sys.exit(code)
