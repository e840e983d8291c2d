"""Decides about each mutation where it is executed, and writes it to the audit log.

The check wraps the resolvers of the mutations, so aliases, fragments, variables, several operations in a document
and any way to send one come out at the same place, with the arguments Dagster will use.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from dagster_graphql.schema.errors import GrapheneUnauthorizedError
from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
)

from access import Permissions
from run_launcher.log_files import UnsafeLogKeyError
from webserver.audit import AuditLog
from webserver.context import RequestContext
from webserver.mutations import MUTATIONS
from webserver.refusals import RefusedError, log_key
from webserver.touched import NOTHING, Touched

Resolver = Callable[..., Any]


def guard_schema(schema: GraphQLSchema, audit: AuditLog) -> None:
    """Put the check before every mutation, and before every field that takes the key of a log."""
    for name, field in _fields(schema.mutation_type):
        field.resolve = _guarded(name, _present(field.resolve, name), audit)
    for name, field in _fields(schema.query_type):
        if "logKey" in field.args:
            field.resolve = _checked_log_key(_present(field.resolve, name))
    for name, field in _fields(schema.subscription_type):
        if "logKey" in field.args:
            field.subscribe = _checked_log_key(_present(field.subscribe, name))


def _fields(kind: GraphQLObjectType | None) -> Iterable[tuple[str, GraphQLField]]:
    return kind.fields.items() if kind else ()


def _present(resolve: Resolver | None, name: str) -> Resolver:
    if resolve is None:
        raise RuntimeError(f"Dagster's schema has no resolver for {name}: there is nothing to put the check before")
    return resolve


def missing_permission(permissions: Permissions, touched: Touched) -> str | None:
    """What is missing to do something to these, in words; None when nothing is."""
    if permissions.is_admin:
        return None
    if touched.elsewhere:
        return f"the role admin, because it concerns {'; '.join(touched.elsewhere)}"
    missing = sorted(name for name in touched.locations if not permissions.may_edit(name))
    if missing:
        return f"the role editor of {', '.join(missing)}"
    return None if touched.locations else "the role admin, because it concerns no code location"


def refusal(context: RequestContext, operation: str, missing: str) -> str:
    """The message for the person."""
    user = context.identity.user if context.identity else "nobody"
    own = ", ".join(sorted(context.access.editable))
    role = f"{context.access.role} of {own}" if own and not context.access.is_admin else str(context.access.role)
    return f"{user} ({role}) may not do {operation}: it needs {missing}."


def _guarded(name: str, resolve: Resolver, audit: AuditLog) -> Resolver:
    rule = MUTATIONS.get(name)

    def guarded(root: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        context: RequestContext = info.context
        note = _Note(name, context, audit)
        try:
            if rule is None:
                note.touched = Touched(elsewhere=("an operation this deployment has no rule for",))
            else:
                note.touched = rule(context, arguments)
        except RefusedError as error:
            note.write(allowed=False, result=str(error))
            return _denied(info, str(error))
        missing = missing_permission(context.access, note.touched)
        if missing:
            message = refusal(context, name, missing)
            note.write(allowed=False, result=message)
            return _denied(info, message)
        return _executed(note, resolve, root, info, arguments)

    return guarded


def _executed(note: "_Note", resolve: Resolver, root: Any, info: GraphQLResolveInfo, arguments: dict[str, Any]) -> Any:
    again = note.operation == "reexecutePartitionBackfill"
    try:
        with note.context.attributed_backfills() if again else nullcontext():
            result = resolve(root, info, **arguments)
    except BaseException as error:
        note.write(allowed=True, result=type(error).__name__)
        raise
    if inspect.isawaitable(result):
        return _awaited(note, result)
    note.finished(result)
    return result


async def _awaited(note: "_Note", pending: Awaitable[Any]) -> Any:
    try:
        result = await pending
    except BaseException as error:
        note.write(allowed=True, result=type(error).__name__)
        raise
    note.finished(result)
    return result


def _denied(info: GraphQLResolveInfo, message: str) -> Any:
    """Dagster's own answer where the mutation has one (the UI shows it), else an error of the field."""
    returned = info.return_type.of_type if isinstance(info.return_type, GraphQLNonNull) else info.return_type
    if isinstance(returned, GraphQLUnionType) and any(kind.name == "UnauthorizedError" for kind in returned.types):
        return GrapheneUnauthorizedError(message)
    raise GraphQLError(message, info.field_nodes, path=info.path.as_list(), extensions={"code": "FORBIDDEN"})


def _checked_log_key(resolve: Resolver) -> Resolver:
    def checked(root: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        try:
            log_key(arguments["logKey"])
            return resolve(root, info, **arguments)
        except (RefusedError, UnsafeLogKeyError) as error:
            raise GraphQLError(str(error), info.field_nodes, path=info.path.as_list()) from None

    return checked


class _Note:
    """What the audit log will say about one operation."""

    def __init__(self, operation: str, context: RequestContext, audit: AuditLog) -> None:
        self.operation = operation
        self.context = context
        self.touched = NOTHING
        self._audit = audit

    def write(self, *, allowed: bool, result: str) -> None:
        self._audit.record(
            self.operation,
            self.context.identity,
            self.context.access,
            self.touched,
            allowed=allowed,
            result=result,
        )

    def finished(self, result: Any) -> None:
        kind = type(result)
        name = kind._meta.name if hasattr(kind, "_meta") else repr(result)
        self.touched += Touched(runs=tuple(_made_runs(result)), backfills=tuple(_made_backfills(result)))
        self.write(allowed=name != "UnauthorizedError", result=name)


def _made_runs(result: Any) -> Iterator[str]:
    for each in [result, *(getattr(result, "launchMultipleRunsResult", None) or [])]:
        if type(each).__name__ == "GrapheneLaunchRunSuccess":
            yield each.run.runId


def _made_backfills(result: Any) -> Iterator[str]:
    if type(result).__name__ == "GrapheneLaunchBackfillSuccess":
        yield result.backfill_id
