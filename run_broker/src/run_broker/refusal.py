"""The one way to say no."""


class Refusal(Exception):  # noqa: N818 - not an error of the broker: the answer that the policy wants
    """A request that is not carried out: its HTTP status, a short reason for logs and metrics, and an explanation.

    The explanation is shown to the caller (docker-py puts it into its exceptions), so it says what was found and what
    to do, and never names anything the caller may not see.
    """

    def __init__(self, status: int, reason: str, message: str, *, allow: str = "") -> None:
        """Keep the parts; `allow` fills the Allow header of a 405."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.allow = allow
