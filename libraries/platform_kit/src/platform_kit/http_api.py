"""A paged HTTP API as a Dagster resource: token, timeouts, retries, and errors that say what was found."""

import random
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource

from platform_kit.environment import secret, setting
from platform_kit.redaction import redact

if TYPE_CHECKING:
    import httpx

_PASSING = frozenset({429, 500, 502, 503, 504})
_LONGEST_PAUSE_SECONDS = 60.0
_SHOWN_CHARACTERS = 200


class HttpApiError(Exception):
    """The API did not answer as expected; the message says what it answered, without the token."""


class HttpApiResource(ConfigurableResource[Any]):
    """An API whose address and token are the settings `<prefix>_URL` and `<prefix>_TOKEN` (a secret).

    They are read when a request is made, so no token is in the resource's configuration, which Dagster shows. Requests
    that may succeed later (no connection, time-out, 429, 5xx) are made again with growing pauses; others fail at once.
    """

    prefix: str
    timeout_seconds: float = 30.0
    attempts: int = 5
    first_pause_seconds: float = 0.5
    page_size: int = 500

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """The JSON object at a path."""
        with self._client() as client:
            return self._get(client, path, parameters)

    def pages(self, path: str) -> Iterator[list[dict[str, Any]]]:
        """The items of each page in turn; an error when in the end they are not as many as the API said."""
        number, pages, seen = 0, 1, 0
        with self._client() as client:
            while number < pages:
                number += 1
                answer = self._get(client, path, {"page": number, "page_size": self.page_size})
                items, pages, total = _page(path, answer, number)
                seen += len(items)
                yield items
        if seen != total:
            raise HttpApiError(f"{path} said it has {total} items, but its {pages} pages had {seen}: run this again")

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of all pages."""
        return [item for page in self.pages(path) for item in page]

    def _client(self) -> "httpx.Client":
        import httpx

        return httpx.Client(
            base_url=setting(f"{self.prefix}_URL"),
            headers={"Authorization": f"Bearer {self._token()}", "Accept": "application/json"},
            timeout=self.timeout_seconds,
            # A redirect would carry the token to another address.
            follow_redirects=False,
        )

    def _token(self) -> str:
        return secret(f"{self.prefix}_TOKEN").reveal()

    def _get(self, client: "httpx.Client", path: str, parameters: Mapping[str, str | int]) -> dict[str, Any]:
        import httpx

        found = ""
        for attempt in range(1, self.attempts + 1):
            answer = None
            try:
                answer = client.get(path, params=dict(parameters))
            except httpx.TransportError as error:
                found = f"{type(error).__name__}: {error}"
            if answer is not None and answer.status_code not in _PASSING:
                return self._object(path, answer)
            if answer is not None:
                found = _shown(answer)
            if attempt < self.attempts:
                time.sleep(self._pause(attempt, answer))
        raise self._error(f"GET {path}: no answer after {self.attempts} attempts, the last one was: {found}")

    def _object(self, path: str, answer: "httpx.Response") -> dict[str, Any]:
        if answer.status_code in (401, 403):
            raise self._error(f"GET {path}: {_shown(answer)}; the API refuses the token in {self.prefix}_TOKEN")
        if answer.status_code != 200:
            raise self._error(f"GET {path}: expected 200, got {_shown(answer)}")
        try:
            body = answer.json()
        except ValueError:
            raise self._error(f"GET {path}: expected JSON, got {_shown(answer)}") from None
        if not isinstance(body, dict):
            raise self._error(f"GET {path}: expected a JSON object, got {_shown(answer)}")
        return body

    def _pause(self, attempt: int, answer: "httpx.Response | None") -> float:
        asked = answer.headers.get("retry-after", "") if answer is not None else ""
        if asked.isdecimal():
            return min(float(asked), _LONGEST_PAUSE_SECONDS)
        # Spread, so that runs which failed together do not come back together.
        pause = min(self.first_pause_seconds * float(2 ** (attempt - 1)), _LONGEST_PAUSE_SECONDS)
        return pause * random.uniform(0.5, 1)  # noqa: S311

    def _error(self, message: str) -> HttpApiError:
        return HttpApiError(f"{setting(f'{self.prefix}_URL')} {message}".replace(self._token(), "***"))


def _page(path: str, answer: Mapping[str, Any], number: int) -> tuple[list[dict[str, Any]], int, int]:
    items, page, pages, total = (answer.get(name) for name in ("items", "page", "pages", "total"))
    if not isinstance(items, list) or page != number or not isinstance(pages, int) or not isinstance(total, int):
        raise HttpApiError(
            f"{path}, page {number}: expected items, page, pages and total, got "
            f"{redact(str({name: answer[name] for name in sorted(answer) if name != 'items'}))[:_SHOWN_CHARACTERS]}"
        )
    return items, pages, total


def _shown(answer: "httpx.Response") -> str:
    return f"{answer.status_code} {answer.reason_phrase}: {answer.text[:_SHOWN_CHARACTERS]}".strip()
