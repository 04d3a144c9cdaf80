"""``sipua drill``: break something on purpose and see whether calls come through."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sipua.children import agent_environment
from sipua.cli.command import FAILURE_EXIT, Json, print_json, run
from sipua.drills.findings import Result
from sipua.drills.mutations import Mutation
from sipua.drills.performance import perform
from sipua.drills.runner import run_drills
from sipua.drills.scenarios import SCENARIOS, chosen
from sipua.log import configure_logging

app = typer.Typer(
    help="Break something on purpose and see whether calls come through.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def drill() -> None:
    """Break something on purpose and see whether calls come through."""


@app.command("list")
def list_(json: Json = False) -> None:
    """Name the drills: what each breaks and what is expected."""
    if json:
        document = [
            {
                "name": each.name,
                "breaks": each.breaks,
                "expected": each.expected,
                "expects_failover": each.expects_failover,
            }
            for each in SCENARIOS.values()
        ]
        print_json({"drills": document})
        return
    for each in SCENARIOS.values():
        typer.echo(f"{each.name:20} {each.breaks}\n{'':20} → {each.expected}")


@app.command("run")
def run_(
    names: Annotated[list[str], typer.Argument(help="Names of drills, or all.")],
    within: Annotated[float | None, typer.Option(help="Seconds until a call must be up elsewhere.")] = None,
    mutate: Annotated[Mutation, typer.Option(help="Make something wrong on purpose.")] = Mutation.NONE,
    json: Json = False,
) -> None:
    """Perform drills; exit 1 when one did not hold."""
    configure_logging("warning", "console")
    scenarios = chosen(names)
    with tempfile.TemporaryDirectory(prefix="sipua-drill-") as folder:
        environment = agent_environment(Path(folder), Path(folder), "drill")
        results = run(
            lambda stop: run_drills(
                scenarios, Path(folder), environment,
                mutation=mutate, within_s=within, stop=stop, show=_show,
            )
        )  # fmt: skip
    if json:
        print_json({"drills": [each.as_dict() for each in results]})
    if any(each.held is False for each in results):
        raise typer.Exit(FAILURE_EXIT)


@app.command("one", hidden=True)
def one(
    name: str,
    folder: Annotated[Path, typer.Option()],
    within: float | None = None,
    mutate: Mutation = Mutation.NONE,
) -> None:
    """Perform one drill in this process; its result is one line of JSON."""
    configure_logging("warning", "console")
    (scenario,) = chosen([name])
    folder.mkdir(parents=True, exist_ok=True)
    result = run(lambda stop: perform(scenario, folder, mutate, within), patience=0)
    print_json(result.as_dict())


def _show(result: Result) -> None:
    word = {True: "held", False: "DID NOT HOLD", None: "skipped"}[result.held]
    typer.echo(f"{result.name:20} {word:12} {result.what_happened}", err=True)
