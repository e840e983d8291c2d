"""The lake's one exception."""


class LakeError(Exception):
    """Something about the lake is not as expected; the message says what was found and what to do."""
