"""access.yaml from a file to a checked `Access`."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from access.documents import Document, read_document, show
from access.models import Access, Machine, Members, People


def load(path: str | Path, locations: Iterable[str]) -> Access:
    """Read access.yaml; `locations` are the names in workspace.yaml. Raises `AccessError`."""
    return _check(read_document(path), list(locations))


def loads(text: str, locations: Iterable[str], file: str = "access.yaml") -> Access:
    """Like `load`, from text: for a file that is about to be written."""
    return _check(Document(file, text), list(locations))


def _check(document: Document, locations: list[str]) -> Access:
    try:
        access = Access.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        raise document.error(first["loc"], _explain(first)) from error
    _check_locations(document, access, locations)
    return access.model_copy(update={"machines": {name: access.machines.get(name, Machine()) for name in locations}})


_SAID = {"personal": "sees"}


def _check_locations(document: Document, access: Access, locations: list[str]) -> None:
    legal = f"legal are the code locations of workspace.yaml: {', '.join(locations) or 'none yet'}"
    for name in access.people.editor:
        if name not in locations:
            raise document.error(("people", "editor", name), f"unknown code location {name!r}; {legal}")
    for name, machine in access.machines.items():
        if name not in locations:
            raise document.error(("machines", name), f"unknown code location {name!r}; {legal}")
        for right in Machine.model_fields:
            others = getattr(machine, right)
            for index, other in enumerate(others):
                path = ("machines", name, right, index)
                if other == name:
                    raise document.error(
                        path, f"{name!r} always {_SAID.get(right, right)} its own lake; name others only"
                    )
                if other not in locations:
                    raise document.error(path, f"unknown code location {other!r}; {legal}")
                if other in others[:index]:
                    raise document.error(path, f"{other!r} is named twice")
        _check_maintained(document, access, name)
        _check_personal(document, name, machine)


def _check_personal(document: Document, name: str, machine: Machine) -> None:
    for index, other in enumerate(machine.personal):
        if other not in machine.reads:
            path = ("machines", name, "personal", index)
            raise document.error(path, f"{name!r} does not read {other!r}: name it under reads as well")


def _check_maintained(document: Document, access: Access, name: str) -> None:
    for index, other in enumerate(access.machines[name].maintains):
        if other in access.machines and access.machines[other].maintains:
            # Who maintains a location has its password, and so all that it maintains itself.
            path = ("machines", name, "maintains", index)
            raise document.error(path, f"{other!r} maintains others itself; nobody may maintain it")


def _explain(error: ErrorDetails) -> str:
    """pydantic's finding in the words of somebody who edits the file."""
    kind, found = error["type"], show(error["input"])
    if kind == "extra_forbidden":
        return f"unknown key {str(error['loc'][-1])!r}; legal here: {', '.join(_legal_keys(error['loc']))}"
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        return f"found {found}; legal: {', '.join(get_args(People.model_fields['unknown_users'].annotation))}"
    if kind == "list_type":
        return f"found {found}; expected a list, such as [one, two] or []"
    if kind == "string_type":
        return f"found {found}; expected a name; put quotes around what YAML takes for something else"
    if kind in ("model_type", "dict_type"):
        return f"found {found}; expected a map"
    return f"found {found}; {error.get('ctx', {}).get('error', error['msg'])}"


def _legal_keys(location: tuple[int | str, ...]) -> list[str]:
    parents = location[:-1]
    if not parents:
        return list(Access.model_fields)
    if parents == ("people",):
        return list(People.model_fields)
    return list((Machine if parents[0] == "machines" else Members).model_fields)
