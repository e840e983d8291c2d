"""How much one GraphQL operation may say, and how much its answer may cost.

Dagster's own UI asks in 7,500 characters, 720 tokens and 640 fields at most. Refused is what would take the webserver
from everybody else: a document of megabytes, or a short one whose lists of lists have billions of entries.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from inspect import isawaitable
from typing import Any

import graphql
from graphene import Schema
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLResolveInfo, MapAsyncIterator, OperationType
from graphql import create_source_event_stream as source_events

# As for a message of a WebSocket. JSON takes up to 25 times as much memory when it is read.
BODY = 1024 * 1024
CHARACTERS = 100_000
TOKENS = 10_000
# Fields of an answer: 10 to 30 µs and up to 250 bytes each. While a subscription's event is answered, everybody waits.
FIELDS = 250_000
EVENT_FIELDS = 100_000
SECONDS = 30
# As many as a browser has connections; all of them at their limits fit into the webserver's memory.
AT_ONCE = 6
# All events of a run are in memory while they are packed into a file for download.
PACKED_AT_ONCE = 2
# Each is looked after by the one loop that serves everybody. A page has one or two.
SUBSCRIPTIONS = 100


class ExceededError(BaseException):
    """An answer costs too much. No `Exception`: the execution would note it at one field and go on with the next."""


class Spending:
    """What the answer to one operation has cost so far."""

    def __init__(self, fields: int = FIELDS, seconds: float = SECONDS) -> None:
        self._limit = self._left = fields
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def charge(self, timed: bool) -> None:
        """One more field."""
        self._left -= 1
        if self._left < 0:
            raise ExceededError(f"The answer has more than {self._limit} fields: ask for less at once.")
        if timed and time.monotonic() > self._until:
            raise ExceededError(f"The answer takes longer than {self._seconds:.0f} s: ask for less at once.")


class Turns:
    """Each person's operations at once; more of them wait for their own, and nobody else's."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._of: dict[str, asyncio.Semaphore] = {}

    def of(self, user: str) -> asyncio.Semaphore:
        """A turn of this person, to be held for the whole request."""
        return self._of.setdefault(user, asyncio.Semaphore(self._at_once))


def parse(query: str) -> DocumentNode:
    """Read an operation. Raises `GraphQLError`, also for one that is too long."""
    return graphql.parse(query, max_source_length=CHARACTERS, max_lexical_tokens=TOKENS)


def charge(resolve: Callable[..., Any], root: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    """GraphQL middleware: each field of an answer counts. A mutation may take its time: by then it is done."""
    info.context.spending.charge(timed=info.operation.operation is not OperationType.MUTATION)
    return resolve(root, info, **arguments)


async def subscribe(
    schema: Schema,
    query: str,
    *,
    context: Any,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> AsyncIterator[ExecutionResult] | ExecutionResult:
    """What graphene's own does, with a limit for the answer to each event."""
    document = parse(query)
    asked = {"variable_values": variables, "operation_name": operation_name, "context_value": context}
    events: Any = await source_events(schema.graphql_schema, document, **asked)
    if isinstance(events, ExecutionResult):
        return events

    async def answer(event: Any) -> ExecutionResult:
        context.spending = Spending(EVENT_FIELDS)
        try:
            result = graphql.execute(schema.graphql_schema, document, event, middleware=[charge], **asked)
            return await result if isawaitable(result) else result
        except ExceededError as error:
            return ExecutionResult(data=None, errors=[GraphQLError(str(error))])

    return MapAsyncIterator(events, answer)
