"""Dagster's web application behind the gate, with the guard on its schema and rules for what is no GraphQL."""

import gzip
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from dagster._core.debug import DebugRunPayload
from dagster_webserver.external_assets import _asset_key_from_request
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema
from graphql import GraphQLError, OperationDefinitionNode, OperationType, validate
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket

from webserver import banner, limits, touched
from webserver.audit import AuditLog
from webserver.context import ProcessContext, RequestContext
from webserver.gate import App, Gate
from webserver.guard import guard_schema, missing_permission, refusal
from webserver.identity import SCOPE_KEY, AccessFile
from webserver.limits import parse
from webserver.refusals import RefusedError, log_key, run_id

# What Dagster serves beside its static files. A version that serves more does not start until it has been looked at.
ROUTES = {
    "/server_info",
    "/dagit_info",
    "/graphql",
    "/logs/{path:path}",
    "/notebook",
    "/dagit/notebook",
    "/download_debug/{run_id:str}",
    "/report_asset_materialization/{asset_key:path}",
    "/report_asset_check/{asset_key:path}",
    "/report_asset_observation/{asset_key:path}",
    "/{path:path}",
    "/",
}
CHUNK = 1024 * 1024
logger = logging.getLogger("webserver")
Endpoint = Callable[[Request], Awaitable[Response]]


class Webserver(DagsterWebserver[ProcessContext, RequestContext]):
    """Dagster's webserver with our checks at each of its endpoints."""

    def __init__(self, process: ProcessContext, audit: AuditLog, banner_text: str = "") -> None:
        self._audit = audit
        self._banner = banner_text
        self._turns = limits.Turns()
        self._packing = CapacityLimiter(limits.PACKED_AT_ONCE)
        self._subscribed: dict[str, set[Any]] = {}
        super().__init__(process, live_data_poll_rate=2000)

    def build_graphql_schema(self) -> Schema:
        """Dagster's schema, its mutations guarded."""
        schema = super().build_graphql_schema()
        guard_schema(schema.graphql_schema, self._audit)
        schema.subscribe = partial(limits.subscribe, schema)
        return schema

    def build_graphql_middleware(self) -> list[Any]:
        """Each field of an answer counts."""
        return [limits.charge]

    def build_routes(self) -> list[Any]:
        """Dagster's routes, if all of them are known."""
        routes: list[Any] = super().build_routes()
        unknown = [route.path for route in routes if route.path not in ROUTES and not route.name.endswith("_static")]
        if unknown:
            raise RuntimeError(f"Dagster serves {', '.join(unknown)}, for which webserver/app.py has no rule")
        return routes

    def build_middleware(self) -> list[Middleware]:
        """Without Dagster's own, which tells every client how often which function was called."""
        return []

    def index_html_endpoint(self, request: Request) -> Response:
        """Dagster's page, which says at its top when this is not production."""
        page: HTMLResponse = super().index_html_endpoint(request)
        text = banner.add(bytes(page.body).decode(), self._banner)
        headers = {name: value for name, value in page.headers.items() if name != "content-length"}
        return HTMLResponse(text, headers=headers)

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """One query or mutation, in its person's turn: what waits has not been read yet."""
        async with self._turns.of(request.scope[SCOPE_KEY].user):
            try:
                return await self._operation(request)
            except limits.ExceededError as error:
                return _error(400, str(error))
            except ClientDisconnect:
                return _error(400, "The request ended before its body did.")

    async def _operation(self, request: Request) -> Response:
        """No lists of operations, and by GET queries only."""
        if request.method == "POST":
            if len(await request.body()) > limits.BODY:
                return _error(413, f"An operation has at most {limits.BODY} bytes.")
            try:
                body = await request.json()
            except (ValueError, RecursionError):
                return _error(400, "The body is not valid JSON.")
            if not isinstance(body, dict):
                return _error(400, "Expected one operation as a JSON object; lists of operations are not served.")
            sent: Mapping[str, Any] = body
        elif "text/html" in request.headers.get("accept", ""):
            return await super().graphql_http_endpoint(request)
        else:
            sent = request.query_params
        variables = sent.get("variables")
        if request.method == "GET" and variables:
            try:
                variables = json.loads(variables)
            except (ValueError, RecursionError):
                return _error(400, "The variables are not valid JSON.")
        problem = _problem(sent.get("query"), variables, sent.get("operationName"))
        if not problem and request.method == "GET" and _operations(sent["query"]) - {OperationType.QUERY}:
            return _error(405, "GET serves queries only; send mutations by POST.")
        return _error(400, problem) if problem else await super().graphql_http_endpoint(request)

    async def graphql_ws_endpoint(self, websocket: WebSocket) -> None:
        """Subscriptions. A message that makes no sense ends the connection, not in a traceback."""
        try:
            await super().graphql_ws_endpoint(websocket)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            logger.warning("closed a WebSocket after a malformed message: %s", type(error).__name__)
            await websocket.close(1007)

    async def execute_graphql_subscription(
        self,
        websocket: WebSocket,
        operation_id: str,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> Any:
        """A subscription and nothing else."""
        context = self._process_context.create_request_context(websocket)
        if not context.access.may_view:
            return None, {"message": "Your access to this deployment has ended."}
        problem = _problem(query, variables, operation_name)
        if problem:
            return None, {"message": problem}
        kinds = _operations(query)
        if kinds != {OperationType.SUBSCRIPTION}:
            if OperationType.MUTATION in kinds:
                self._record("mutation over a WebSocket", context, touched.NOTHING, "refused")
            return None, {"message": "Over WebSockets only subscriptions are served."}
        errors = validate(self._graphene_schema.graphql_schema, parse(query))
        if errors:
            return None, errors[0].formatted
        running = self._subscribed.setdefault(context.identity.user, set())
        if len(running) >= limits.SUBSCRIPTIONS:
            return None, {"message": f"At most {limits.SUBSCRIPTIONS} subscriptions at once: close other pages."}
        task, error = await super().execute_graphql_subscription(
            websocket=websocket,
            operation_id=operation_id,
            query=query,
            variables=variables,
            operation_name=operation_name,
        )
        if task:
            running.add(task)
            task.add_done_callback(running.discard)
        return task, error

    async def download_captured_logs_endpoint(self, request: Request) -> Response:
        """A compute log. Read in pieces by the log manager, which follows no link that a run may have left there."""
        *key, kind = request.path_params["path"].split("/")
        manager: Any = self._process_context.instance.compute_log_manager
        try:
            path = await run_in_threadpool(manager.get_captured_local_path, log_key(key), kind)
            first, offset = await run_in_threadpool(manager.read_path, path, 0, CHUNK)
        except (ValueError, RefusedError) as error:
            return _error(400, str(error))
        if first is None or kind not in ("out", "err"):
            return _error(404, "No such log.")
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in "__".join(key))
        headers = {
            "Content-Disposition": f'attachment; filename="{name}.{kind}"',
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingResponse(_pieces(manager, path, first, offset), headers=headers, media_type="text/plain")

    async def download_debug_file_endpoint(self, request: Request) -> Response:
        """The events of one run, packed beside what serves everybody else; a large run takes seconds."""
        try:
            asked = run_id(request.path_params["run_id"])
        except RefusedError as error:
            return _error(400, str(error))
        packed = await to_thread.run_sync(self._packed, asked, limiter=self._packing)
        return Response(packed, media_type="application/gzip") if packed else _error(404, "No such run.")

    def _packed(self, asked: str) -> bytes | None:
        """The file that Dagster's own endpoint would make; None when there is no such run."""
        instance = self._process_context.instance
        run = instance.get_run_by_id(asked)
        if not run:
            return None
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
            DebugRunPayload.build(instance, run).write(file)
        return buffer.getvalue()

    async def download_notebook(self, request: Request) -> Response:
        """A notebook is any file of this kind that the code server can read: for who may change that code."""
        context = self._process_context.create_request_context(request)
        name = request.query_params.get("repoLocName", "")
        missing = missing_permission(context.access, touched.location(name))
        if missing:
            return _error(403, refusal(context, "download_notebook", missing))
        response: Response = await super().download_notebook(request)
        # What a notebook shows was made elsewhere: it must not run as a page of this site.
        response.headers["Content-Security-Policy"] = "sandbox"
        return response

    async def report_asset_materialization_endpoint(self, request: Request) -> JSONResponse:
        """A materialization that happened outside of Dagster."""
        return await self._report(
            "report_asset_materialization", request, super().report_asset_materialization_endpoint
        )

    async def report_asset_check_endpoint(self, request: Request) -> JSONResponse:
        """The result of a check that was done outside of Dagster."""
        return await self._report("report_asset_check", request, super().report_asset_check_endpoint)

    async def report_asset_observation_endpoint(self, request: Request) -> JSONResponse:
        """An observation that was made outside of Dagster."""
        return await self._report("report_asset_observation", request, super().report_asset_observation_endpoint)

    async def _report(self, operation: str, request: Request, endpoint: Endpoint) -> Any:
        try:
            body = await request.json() if request.headers.get("content-type") else {}
            key = _asset_key_from_request("asset_key", request, body) if isinstance(body, dict) else None
        except Exception:  # what Dagster cannot read is the client's mistake, of whatever kind
            key = None
        if key is None or not key.path or not all(key.path):
            return _error(400, "Expected a JSON object, and an asset key in the path, the body or the query.")
        with self.request_context(request) as context:
            concerned = touched.assets(context, [key])
            missing = missing_permission(context.access, concerned)
            if missing:
                message = refusal(context, operation, missing)
                self._record(operation, context, concerned, message)
                return _error(403, message)
            response = await endpoint(request)
            self._record(operation, context, concerned, f"HTTP {response.status_code}", allowed=True)
        return response

    def _record(
        self, operation: str, context: RequestContext, concerned: touched.Touched, result: str, allowed: bool = False
    ) -> None:
        self._audit.record(operation, context.identity, context.access, concerned, allowed=allowed, result=result)

    def _make_request_context(self, conn: HTTPConnection) -> RequestContext:
        return self._process_context.create_request_context(conn)


def create_app(
    process: ProcessContext, access: AccessFile, token: str, audit: AuditLog, *, banner_text: str = ""
) -> App:
    """The application to serve."""
    application: App = Webserver(process, audit, banner_text).create_asgi_app()
    return Gate(application, access, token)


def _pieces(manager: Any, path: str, data: bytes | None, offset: int) -> Iterator[bytes]:
    while data:
        yield data
        data, offset = manager.read_path(path, offset, CHUNK)


def _problem(query: Any, variables: Any, name: Any) -> str | None:
    if not isinstance(query, str):
        return "No GraphQL query found in the request."
    if not isinstance(variables, (dict, type(None))) or not isinstance(name, (str, type(None))):
        return "variables has to be an object and operationName a string."
    try:
        parse(query)
    except RecursionError:
        return "The query is nested too deeply."
    except GraphQLError as error:
        return str(error)
    return None


def _operations(query: str) -> set[OperationType]:
    return {node.operation for node in parse(query).definitions if isinstance(node, OperationDefinitionNode)}


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)
