"""The one error that people see."""


class BackupError(Exception):
    """What was found, what was expected, what to do next."""

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.do = do

    def as_dict(self) -> dict[str, str]:
        """For the program at the other end."""
        return {"found": self.found, "expected": self.expected, "do": self.do}
