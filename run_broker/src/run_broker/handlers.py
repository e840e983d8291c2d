"""From an allowed request to its answer, and from every failure to its refusal."""

import traceback
from collections.abc import Callable, Mapping

from run_broker.audit import Audit, Decision
from run_broker.create_request import parse_create
from run_broker.engine import Engine, EngineError, EngineUnreachableError
from run_broker.http_message import Request, Response
from run_broker.redaction import redact, redact_summary
from run_broker.refusal import Refusal
from run_broker.routes import Match, match_route
from run_broker.runs import Runs

# What is worth reading of a run's output lies at its end; the whole is in Dagster's compute logs.
LOG_LINES = 1000
LOG_BYTES = 1024 * 1024
Handler = Callable[[Request, Match, Decision], Response]


class Handlers:
    """Answers requests; `answer` is the only way in, and the only place where a refusal is made into a response."""

    def __init__(self, engine: Engine, runs: Runs, audit: Audit) -> None:
        """Name the handler of each route."""
        self._engine = engine
        self._runs = runs
        self._audit = audit
        self._by_route: Mapping[str, Handler] = {
            "ping": self._ping,
            "version": self._version,
            "create": self._create,
            "inspect": self._inspect,
            "start": self._start,
            "stop": self._stop,
            "logs": self._logs,
            "list": self._list,
            "metrics": self._metrics,
        }

    def answer(self, read: Callable[[], Request | None], decision: Decision) -> Response | None:
        """Read a request, decide, act, and record the decision; None when nothing was asked."""
        try:
            request = read()
            if request is None:
                return None
            match = match_route(decision.caller, request.method, request.target)
            decision.route = match.route.name
            if request.body and decision.route != "create":
                # Old engines let a start request carry a whole HostConfig.
                raise Refusal(400, "unexpected-body", "only create takes a body")
            response = self._by_route[match.route.name](request, match, decision)
        except Refusal as refusal:
            return self.refuse(refusal, decision)
        except EngineError as error:
            return self.refuse(_from_engine(error), decision)
        except Exception as error:  # One request must not end a worker; what happened is logged.
            self._audit.log.write("error", error=repr(error), traceback=traceback.format_exc())
            return self.refuse(Refusal(500, "internal-error", "the run broker failed; its log says how"), decision)
        decision.status = response.status
        self._audit.record(decision)
        return response

    def refuse(self, refusal: Refusal, decision: Decision) -> Response:
        """The one way to say no: counted, logged with its reason, and explained to the caller."""
        decision.decision = "refused" if refusal.status < 500 else "failed"
        decision.status, decision.reason, decision.message = refusal.status, refusal.reason, refusal.message
        self._audit.record(decision)
        headers = {"Allow": refusal.allow} if refusal.allow else {}
        if refusal.status == 503:
            headers["Retry-After"] = "1"
        return Response.of_json(refusal.status, {"message": refusal.message, "reason": refusal.reason}, **headers)

    def _ping(self, _request: Request, _match: Match, _decision: Decision) -> Response:
        self._engine.ping()
        return Response(200, b"OK", "text/plain; charset=utf-8")

    def _version(self, _request: Request, _match: Match, _decision: Decision) -> Response:
        return Response.of_json(200, self._engine.version())

    def _create(self, request: Request, _match: Match, decision: Decision) -> Response:
        wanted = parse_create(request.content_type, request.body)
        return Response.of_json(201, {"Id": self._runs.create(wanted, decision), "Warnings": []})

    def _inspect(self, _request: Request, match: Match, decision: Decision) -> Response:
        return Response.of_json(200, redact(self._runs.find(match.container, decision)))

    def _start(self, _request: Request, match: Match, decision: Decision) -> Response:
        return Response(204 if self._runs.start(match.container, decision) else 304)

    def _stop(self, _request: Request, match: Match, decision: Decision) -> Response:
        seconds = int(match.query["t"]) if "t" in match.query else None
        return Response(204 if self._runs.stop(match.container, seconds, decision) else 304)

    def _logs(self, _request: Request, match: Match, decision: Decision) -> Response:
        asked = match.query.get("tail", "all")
        query = {
            "stdout": _flag(match, "stdout"),
            "stderr": _flag(match, "stderr"),
            "timestamps": _flag(match, "timestamps"),
            "tail": str(min(LOG_LINES if asked == "all" else int(asked), LOG_LINES)),
        }
        content = self._runs.logs(match.container, query, LOG_BYTES, decision)
        return Response(200, content, "application/vnd.docker.multiplexed-stream")

    def _list(self, _request: Request, _match: Match, _decision: Decision) -> Response:
        return Response.of_json(200, [redact_summary(row) for row in self._runs.list_runs()])

    def _metrics(self, _request: Request, _match: Match, _decision: Decision) -> Response:
        return Response(200, self._audit.metrics.render().encode(), "text/plain; version=0.0.4; charset=utf-8")


def _flag(match: Match, name: str) -> str:
    return "1" if match.query.get(name, "0").lower() in ("1", "true") else "0"


def _from_engine(error: EngineError) -> Refusal:
    """The engine's failure as an answer of the broker's."""
    if isinstance(error, EngineUnreachableError):
        return Refusal(503, "engine-unreachable", f"the Docker Engine does not answer: {error.message}")
    if error.status in (404, 409):
        # The container went away, or changed its state, between the check and the call.
        return Refusal(error.status, "engine-refused", error.message)
    # Not 502 or 503: those say "try again", and what the engine cannot do now it cannot do in a second either.
    return Refusal(500, "engine-failed", str(error))
