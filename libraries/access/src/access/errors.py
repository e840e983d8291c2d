"""The one error of this library."""


class AccessError(ValueError):
    """A file that cannot be used: says where, what was found and what is legal."""

    def __init__(self, file: str, line: int | None, message: str) -> None:
        self.file = file
        self.line = line
        self.message = message
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")
