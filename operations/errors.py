"""The one error that people see, and findings that are told without stopping."""

from dataclasses import dataclass


class StackError(Exception):
    """Something that ends a verb: what was found, what was expected, what to do next."""

    def __init__(self, found: str, expected: str = "", do: str = "", code: int = 1) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.do = do
        self.code = code


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, why it is thought so, what to do."""

    subject: str
    what: str
    why: str
    do: str
