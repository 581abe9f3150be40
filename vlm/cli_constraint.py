"""``--schema``, ``--regex``, ``--choice`` and ``--grammar``: what the commands that ask a model share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlm.constrain import Constraint

_MOST = 8 << 20  # bytes read of a file; a constraint's own limit is below this

SchemaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json", help="Answer in JSON by this JSON Schema; what the image doesn't show is null."
    ),
]
RegexOption = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Answer what this pattern matches as a whole.")
]
ChoiceOption = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="Answer one of these texts; repeatable.")
]
GrammarOption = Annotated[
    Path | None, typer.Option(metavar="FILE.lark", help="Answer a sentence of this Lark grammar.")
]


def constraint_of(
    schema: Path | None, regex: str | None, choice: list[str] | None, grammar: Path | None
) -> Constraint | None:
    """The constraint that the options name; None if they name none. To be called before a model is loaded.

    Raises:
        UsageError: more than one of them, a file that can't be read, or what is in it can't be used.
    """
    given = {"--schema": schema, "--regex": regex, "--choice": choice or None, "--grammar": grammar}
    named = [name for name, value in given.items() if value is not None]
    if not named:
        return None

    from vlm.constrain import Constraint
    from vlm.errors import UsageError

    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} exclude each other: an answer keeps to one of them")
    try:
        if schema is not None:
            return Constraint.schema(_read(schema))
        if grammar is not None:
            return Constraint.grammar(_read(grammar))
        return Constraint.regex(regex) if regex is not None else Constraint.choice(choice or [])
    except UsageError as error:
        raise UsageError(f"{named[0]}: {error}") from None


def _read(path: Path) -> str:
    from vlm.errors import UsageError, printable

    name = printable(path)
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{name}: can't be read ({error.strerror or error})") from None
    except ValueError:  # no UTF-8; or a NUL in the name
        raise UsageError(f"{name}: no text in UTF-8") from None
