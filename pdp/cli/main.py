"""The command `pdp`: its verbs, and the one table of exit codes.

0 fine or allow · 1 a finding: deny, a failing test, a difference · 2 wrong usage or configuration · 3 the policy does not
compile · 4 internal error.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from language import PolicyErrors
from pdp.cli.report import FINDING, INTERNAL, NOT_COMPILED, USAGE, print_diagnostics, wanted_format
from pdp.errors import PdpError

app = typer.Typer(
    name="pdp",
    help="Bulkhead: policy as code over verified workload identity, task context and expiry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"auto_envvar_prefix": "PDP", "help_option_names": ["-h", "--help"]},
)

#: Each verb with the module and the function, or the group of verbs, that are it.
VERBS = {
    "init": ("init", "init"),
    "check": ("check", "check"),
    "fmt": ("fmt", "fmt"),
    "test": ("test", "test"),
    "eval": ("decide", "evaluate"),
    "explain": ("decide", "explain"),
    "explain-code": ("check", "explain_code"),
    "dev": ("dev", "dev"),
    "log": ("log", "log"),
    "serve": ("serve", "serve"),
    "task": ("task", "task"),
    "grant": ("grant", "grant"),
    "freeze": ("incident", "freeze"),
    "thaw": ("incident", "thaw"),
    "held": ("incident", "held"),
    "revoke": ("incident", "revoke"),
    "status": ("incident", "status"),
    "keys": ("keys", "keys"),
    "doctor": ("doctor", "doctor"),
}


def _add_verbs(arguments: list[str]) -> None:
    """Adds the verb that is asked for, or all where none is: what is not used need not be imported."""
    wanted = [arguments[0]] if arguments and arguments[0] in VERBS else list(VERBS)
    for verb in wanted:
        module, function = VERBS[verb]
        found = getattr(import_module(f"pdp.cli.{module}"), function)
        if isinstance(found, typer.Typer):  # a group of verbs
            app.add_typer(found, name=verb)
        else:
            app.command(verb)(found)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, allow_from_autoenv=False
    ),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"bulkhead-pdp {installed('bulkhead-pdp')}")
        raise typer.Exit


def main() -> None:
    """Runs a verb; whatever ends it has its number in the table, and no traceback is shown for anyone's mistake."""
    try:
        _add_verbs(sys.argv[1:])
        app()
    except PolicyErrors as errors:
        print_diagnostics(errors.diagnostics, wanted_format(sys.argv))
        code = NOT_COMPILED
    except PdpError as error:
        typer.echo(f"pdp: {error}", err=True)
        code = USAGE
    except BrokenPipeError:
        sys.stderr.close()
        code = FINDING
    except Exception as error:  # the edge of the process: the last place that can say something useful
        typer.echo(f"pdp: internal error: {type(error).__name__}: {error}", err=True)
        if _debug():
            raise
        typer.echo("pdp: set PDP_DEBUG=1 for the traceback, and please report it", err=True)
        code = INTERNAL
    raise SystemExit(code)


def _debug() -> bool:
    import os

    return os.environ.get("PDP_DEBUG", "") not in ("", "0")
