"""Keeps each code location to its own runs, in the database itself.

A stored run says in which location it is executed, which code of it, with which configuration. Dagster's processes all
write to that one table. A location that could change another's rows, or add some, would have the daemon execute its
choice in the other's container, with the other's secrets; so rights on whole tables are not enough. What a run has
told, and what its tags say, is guarded in the same way: a location tells of its own runs and of no other's.
"""

from dataclasses import dataclass
from typing import TypeAlias

from provisioning.plan import FINAL_STATES, KEPT_TAGS, OWNER, RUN_STATES, SERVICE
from psycopg2.sql import SQL, Composable, Identifier, Literal

Statements: TypeAlias = list[Composable]

# Where a stored run says its location; written by webserver and daemon alone, since only they add runs.
LOCATION_PATH = "{external_pipeline_origin,external_repository_origin,repository_location_origin,location_name}"


@dataclass(frozen=True)
class Guard:
    """A trigger on each row of a table, with its function. Dagster's own services and the owner may do anything.

    `when` is the statements that it guards; `body` and `declared` are PL/pgSQL, with names in braces for what
    `function` fills in.
    """

    name: str
    table: str
    when: str
    body: str
    declared: str = ""

    def function(self) -> Composable:
        """The statement that makes it, or makes it anew."""
        return SQL(_FUNCTION.replace("{declared}", self.declared).replace("{body}", self.body)).format(
            name=Identifier("public", self.name),
            row=SQL("OLD" if self.when == "DELETE" else "NEW"),
            service=Literal(SERVICE),
            owner=Literal(OWNER),
            kept=Literal(list(KEPT_TAGS)),
            states=Literal(list(RUN_STATES)),
            final=Literal(list(FINAL_STATES)),
            path=Literal(LOCATION_PATH),
            own_run=SQL(_OWN_RUN).format(path=Literal(LOCATION_PATH)),
        )

    def trigger(self) -> Composable:
        """The statement that puts it in force."""
        return SQL("CREATE TRIGGER {} BEFORE {} ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            Identifier(self.name), SQL(self.when), Identifier("public", self.table), Identifier("public", self.name)
        )


_FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
{declared}
BEGIN
    IF current_user = {service} OR pg_has_role(current_user, {owner}, 'MEMBER') THEN
        RETURN {row};
    END IF;
{body}
END
$guard$"""
_OWN_RUN = (
    "EXISTS (SELECT FROM public.runs WHERE run_id = NEW.run_id AND run_body::json #>> {path} = current_user::text)"
)

# Nothing of the new body is taken over but the tags, as plain texts: two readers of one JSON document may differ (a key
# given twice, an older name of a field), and the daemon's is not this one. The type json keeps every other part of the
# document letter by letter.
RUNS = Guard(
    "guard_runs",
    "runs",
    "UPDATE",
    declared="DECLARE kept CONSTANT text[] := {kept}; tags json;",
    body="""
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
    RETURN OLD;""",
)

# Retention deletes the records of old runs. Without its record a run that goes on is nobody's: no page shows it and
# nothing ends it; so the table itself refuses, whatever the code that deletes has got wrong.
DELETES = Guard(
    "guard_run_deletes",
    "runs",
    "DELETE",
    body="""
    IF (OLD.status = ANY ({final})) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('run %s is %s: only the record of a run that has ended may be deleted', OLD.run_id, OLD.status);
    END IF;
    RETURN OLD;""",
)

# An event of no run tells of an asset, as reports from outside of runs do. What an event's text says of its run is what
# sensors and the pages of assets read, so it must be the run of the row. Python writes texts that Postgres does not
# take for JSON: NaN, and characters that no text may have. Replaced by others, none of them makes or hides a key.
EVENTS = Guard(
    "guard_events",
    "event_logs",
    "INSERT",
    declared="DECLARE told text;",
    body="""
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
    RETURN NEW;""",
)

# The tags that guard_runs does not take over are not taken over here either.
TAGS = Guard(
    "guard_run_tags",
    "run_tags",
    "INSERT OR UPDATE",
    body="""
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
    RETURN NEW;""",
)

# What a check has come to is what its run says. A result of no run is a report from outside: added, never changed.
CHECKS = Guard(
    "guard_checks",
    "asset_check_executions",
    "INSERT OR UPDATE",
    body="""
    IF (TG_OP = 'INSERT' AND NEW.run_id = '') IS NOT TRUE AND NOT {own_run} THEN
        RAISE insufficient_privilege USING MESSAGE = format(
            'the code location %s may not say what a check of run %s has come to, which is not its own',
            current_user, NEW.run_id);
    END IF;
    RETURN NEW;""",
)
GUARDS = (RUNS, DELETES, EVENTS, TAGS, CHECKS)


def guard_runs(triggers: list[str]) -> Statements:
    """The statements that guard runs, and what is told and said of them, given the triggers that these tables have:
    making one waits for every run's statement."""
    missing = [each for each in GUARDS if each.name not in triggers]
    return [*(each.function() for each in GUARDS), *(each.trigger() for each in missing)]
