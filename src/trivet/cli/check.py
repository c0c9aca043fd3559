"""``trivet check``: everything that is wrong with an app, and what could be better."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trivet.cli.output import json_option, near, print_json, print_table, style
from trivet.cli.structure import check_imports, joined_calls
from trivet.cli.target import app_argument, load_for
from trivet.core.fault import Fault


@click.command()
@app_argument
@click.option("--split", is_flag=True, help="List commands that join another module's transaction.")
@click.option("--strict", is_flag=True, help="Fail on advice too.")
@json_option
def command(app: str | None, app_dir: str, split: bool, strict: bool, as_json: bool) -> int:
    """Say everything that is wrong with an app, and what could be better.

    Errors are what keeps it from starting, and imports that reach inside another module or make a model impure.
    Advice is what is cheaper to mend before a release.

    \b
    Examples:
      trivet check shop.app:app
      trivet check shop.app:app --strict      in continuous integration
      trivet check shop.app:app --split       which modules can not be placed apart, and why
    """
    loaded = load_for(app, app_dir)
    contract, faults = loaded.contract()
    errors = [*faults, *contract.drift, *check_imports(loaded.modules)]
    advice = loaded.lint() if not faults else []
    joined = joined_calls(loaded.modules) if split else []
    if as_json:
        print_json({"errors": errors, "advice": advice} | ({"split": joined} if split else {}))
    else:
        _print(errors, "error", "red")
        _print(advice, "advice", "yellow")
        if split and joined:
            print_table(("CALLER", "COMMAND", "PLACE"), [(j.caller, j.command, near(j.place)) for j in joined])
        elif split:
            click.echo("No command joins another module's transaction: every module can be placed apart.")
        click.echo(_summary(loaded.name, errors, advice))
    return 1 if errors or (strict and advice) else 0


def _print(faults: Sequence[Fault], kind: str, colour: str) -> None:
    for fault in sorted(faults, key=lambda f: (f.place.file, f.place.line)):
        click.echo(f"{near(fault.place)}: {style(kind, fg=colour, bold=True)}: {fault.problem}")
        click.echo(f"    {fault.mend} [{fault.rule}]")


def _summary(name: str, errors: Sequence[Fault], advice: Sequence[Fault]) -> str:
    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'s' * (number != 1)}"

    if not errors and not advice:
        return style(f"{name}: nothing to mend", fg="green")
    pieces = f"{len(advice)} pieces of advice" if len(advice) != 1 else "1 piece of advice"
    return f"{name}: {count(len(errors), 'error')}, {pieces}"
