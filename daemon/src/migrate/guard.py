"""Keeps each code location to its own runs, in the database itself.

A stored run says in which location it is executed, which code of it, with which configuration. Dagster's processes all
write to that one table. A location that could change another's rows, or add some, would have the daemon execute its
choice in the other's container, with the other's secrets; so rights on whole tables are not enough. What a run has
told, and what its tags say, is guarded in the same way: a location tells of its own runs and of no other's.
"""

from typing import TypeAlias

from provisioning.plan import FINAL_STATES, KEPT_TAGS, OWNER, RUN_STATES, SERVICE
from psycopg2.sql import SQL, Composable, Literal

Statements: TypeAlias = list[Composable]

TRIGGER = "guard_runs"
# Where a stored run says its location; written by webserver and daemon alone, since only they add runs.
LOCATION_PATH = "{external_pipeline_origin,external_repository_origin,repository_location_origin,location_name}"

# Nothing of the new body is taken over but the tags, as plain texts: two readers of one JSON document may differ (a key
# given twice, an older name of a field), and the daemon's is not this one. The type json keeps every other part of the
# document letter by letter.
_FUNCTION = """
CREATE OR REPLACE FUNCTION public.guard_runs() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
DECLARE
    kept CONSTANT text[] := {kept};
    tags json;
BEGIN
    IF current_user = {service} OR pg_has_role(current_user, {owner}, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF OLD.run_body::json #>> {path} IS DISTINCT FROM current_user::text THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the code location %s may not change run %s, which is not its own', current_user, OLD.run_id);
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status AND (NEW.status = ANY ({states})) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the code location %s may not make run %s %s', current_user, OLD.run_id, NEW.status);
    END IF;
    SELECT coalesce(json_object_agg(key, coalesce(value, '')), '{{}}') INTO tags FROM (
        SELECT key, value FROM json_each_text(NEW.run_body::json -> 'tags') WHERE key <> ALL (kept)
        UNION ALL
        SELECT key, value FROM json_each_text(OLD.run_body::json -> 'tags') WHERE key = ANY (kept)
    ) AS each_tag;
    SELECT json_object_agg(key, CASE key
        WHEN 'tags' THEN tags
        WHEN 'status' THEN json_build_object('__enum__', split_part(value ->> '__enum__', '.', 1) || '.' || NEW.status)
        ELSE value END)
    INTO OLD.run_body FROM json_each(OLD.run_body::json);
    OLD.status := NEW.status;
    OLD.update_timestamp := NEW.update_timestamp;
    OLD.start_time := NEW.start_time;
    OLD.end_time := NEW.end_time;
    RETURN OLD;
END
$guard$"""
_TRIGGER = "CREATE TRIGGER guard_runs BEFORE UPDATE ON public.runs FOR EACH ROW EXECUTE FUNCTION public.guard_runs()"

# Retention deletes the records of old runs. Without its record a run that goes on is nobody's: no page shows it and
# nothing ends it; so the table itself refuses, whatever the code that deletes has got wrong.
DELETES = "guard_run_deletes"
_DELETES_FUNCTION = """
CREATE OR REPLACE FUNCTION public.guard_run_deletes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
    IF current_user = {service} OR pg_has_role(current_user, {owner}, 'MEMBER') THEN
        RETURN OLD;
    END IF;
    IF (OLD.status = ANY ({final})) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('run %s is %s: only the record of a run that has ended may be deleted', OLD.run_id, OLD.status);
    END IF;
    RETURN OLD;
END
$guard$"""
_DELETES_TRIGGER = (
    "CREATE TRIGGER guard_run_deletes BEFORE DELETE ON public.runs "
    "FOR EACH ROW EXECUTE FUNCTION public.guard_run_deletes()"
)

_OWN_RUN = (
    "EXISTS (SELECT FROM public.runs WHERE run_id = NEW.run_id AND run_body::json #>> {path} = current_user::text)"
)

# An event of no run tells of an asset, as reports from outside of runs do. What an event's text says of its run is what
# sensors and the pages of assets read, so it must be the run of the row. Python writes texts that Postgres does not
# take for JSON: NaN, and characters that no text may have. Replaced by others, none of them makes or hides a key.
EVENTS = "guard_events"
_EVENTS_FUNCTION = """
CREATE OR REPLACE FUNCTION public.guard_events() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
DECLARE
    told text;
BEGIN
    IF current_user = {service} OR pg_has_role(current_user, {owner}, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF (NEW.run_id = '' AND NEW.dagster_event_type ~ '^(ASSET|FRESHNESS)_') IS NOT TRUE AND NOT {own_run} THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the code location %s may not tell of run %s, which is not its own', current_user, NEW.run_id);
    END IF;
    BEGIN
        told := NEW.event::json ->> 'run_id';
    EXCEPTION WHEN data_exception THEN
        told := regexp_replace(regexp_replace(
            NEW.event, '\\\\([^u]|u(0000|[dD][89a-fA-F][0-9a-fA-F][0-9a-fA-F]))', '?', 'g'),
            'NaN|Infinity', '0', 'g')::json ->> 'run_id';
    END;
    IF told IS DISTINCT FROM NEW.run_id THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the code location %s told of run %s in an event of run %s', current_user, told, NEW.run_id);
    END IF;
    RETURN NEW;
END
$guard$"""
_EVENTS_TRIGGER = (
    "CREATE TRIGGER guard_events BEFORE INSERT ON public.event_logs FOR EACH ROW EXECUTE FUNCTION public.guard_events()"
)

# The tags that guard_runs does not take over are not taken over here either.
TAGS = "guard_run_tags"
_TAGS_FUNCTION = """
CREATE OR REPLACE FUNCTION public.guard_run_tags() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
    IF current_user = {service} OR pg_has_role(current_user, {owner}, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF NOT {own_run} THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the code location %s may not tag run %s, which is not its own', current_user, NEW.run_id);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF OLD.key = ANY ({kept}) THEN
            RETURN OLD;
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.key = ANY ({kept}) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$guard$"""
_TAGS_TRIGGER = (
    "CREATE TRIGGER guard_run_tags BEFORE INSERT OR UPDATE ON public.run_tags "
    "FOR EACH ROW EXECUTE FUNCTION public.guard_run_tags()"
)

# What a check has come to is what its run says. A result of no run is a report from outside: added, never changed.
CHECKS = "guard_checks"
_CHECKS_FUNCTION = """
CREATE OR REPLACE FUNCTION public.guard_checks() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
    IF current_user = {service} OR pg_has_role(current_user, {owner}, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF (TG_OP = 'INSERT' AND NEW.run_id = '') IS NOT TRUE AND NOT {own_run} THEN
        RAISE insufficient_privilege USING MESSAGE = format(
            'the code location %s may not say what a check of run %s has come to, which is not its own',
            current_user, NEW.run_id);
    END IF;
    RETURN NEW;
END
$guard$"""
_CHECKS_TRIGGER = (
    "CREATE TRIGGER guard_checks BEFORE INSERT OR UPDATE ON public.asset_check_executions "
    "FOR EACH ROW EXECUTE FUNCTION public.guard_checks()"
)


def guard_runs(triggers: list[str]) -> Statements:
    """The statements that guard runs, and what is told and said of them, given the triggers that these tables have:
    making one waits for every run's statement."""
    function = SQL(_FUNCTION).format(
        kept=Literal(list(KEPT_TAGS)),
        service=Literal(SERVICE),
        owner=Literal(OWNER),
        path=Literal(LOCATION_PATH),
        states=Literal(list(RUN_STATES)),
    )
    deletes = SQL(_DELETES_FUNCTION).format(
        service=Literal(SERVICE), owner=Literal(OWNER), final=Literal(list(FINAL_STATES))
    )
    made = [
        (TRIGGER, _TRIGGER),
        (DELETES, _DELETES_TRIGGER),
        (EVENTS, _EVENTS_TRIGGER),
        (TAGS, _TAGS_TRIGGER),
        (CHECKS, _CHECKS_TRIGGER),
    ]
    told = [_guard_rows(each) for each in (_EVENTS_FUNCTION, _TAGS_FUNCTION, _CHECKS_FUNCTION)]
    return [function, deletes, *told, *(SQL(statement) for name, statement in made if name not in triggers)]


def _guard_rows(function: str) -> Composable:
    return SQL(function).format(
        service=Literal(SERVICE),
        owner=Literal(OWNER),
        kept=Literal(list(KEPT_TAGS)),
        own_run=SQL(_OWN_RUN).format(path=Literal(LOCATION_PATH)),
    )
