"""The facts that hold in the server, read from its catalogs. Any role may ask these questions."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

from provisioning.expected import GUARDED, NOTHING, POWERS, Facts, rights_of
from provisioning.plan import DAGSTER
from provisioning.statements import as_text

Ask: TypeAlias = Callable[..., Sequence[tuple[Any, ...]]]

_ROLE = """
SELECT rolcanlogin, rolconnlimit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
FROM pg_catalog.pg_roles WHERE rolname = %s"""
_MEMBERSHIPS = """
SELECT DISTINCT pg_catalog.pg_get_userbyid(roleid)::text FROM pg_catalog.pg_auth_members
WHERE member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s) ORDER BY 1"""
_SETTINGS = """
SELECT datname::text, pg_catalog.unnest(setconfig) FROM pg_catalog.pg_db_role_setting AS s
JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
WHERE rolname = %s AND datname = ANY (%s)"""
_OWNER = "SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database WHERE datname = %s"
_LAKES = """
SELECT datname::text, pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database
WHERE datname LIKE 'lake\\_%%' ORDER BY 1"""
# Who has which right, but its owner: (place, role, right, column). PUBLIC is the role of number 0; no column is ''.
_RIGHTS = """
SELECT place, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(grantee)::text END, privilege_type, part
FROM ({}) AS objects (place, owner, acl, part), LATERAL pg_catalog.aclexplode(acl)
WHERE grantee <> owner"""
_DATABASES = """
SELECT 'database ' || datname, datdba, coalesce(datacl, pg_catalog.acldefault('d', datdba)), ''
FROM pg_catalog.pg_database WHERE datname = ANY (%s)"""
_SCHEMA = """
SELECT 'schema public of ' || pg_catalog.current_database(), nspowner,
       coalesce(nspacl, pg_catalog.acldefault('n', nspowner)), ''
FROM pg_catalog.pg_namespace WHERE nspname = 'public'"""
_TABLES_RIGHTS = """
SELECT 'table ' || relname || ' of ' || pg_catalog.current_database(), relowner, relacl, ''
FROM pg_catalog.pg_class
WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'table ' || relname || ' of ' || pg_catalog.current_database(), relowner, attacl, attname::text
FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_class AS c ON c.oid = attrelid
WHERE relnamespace = 'public'::pg_catalog.regnamespace AND attacl IS NOT NULL AND NOT attisdropped"""
_SEQUENCES = """
SELECT 'sequence ' || relname || ' of ' || pg_catalog.current_database(), relowner, relacl, ''
FROM pg_catalog.pg_class WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind = 'S'"""
_NEW_TABLES = """
SELECT 'new tables of ' || pg_catalog.current_database(), defaclrole, defaclacl, ''
FROM pg_catalog.pg_default_acl
WHERE defaclobjtype = 'r' AND (defaclnamespace = 0 OR defaclnamespace = 'public'::pg_catalog.regnamespace)"""
_TABLES = """
SELECT relname::text FROM pg_catalog.pg_class
WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind IN ('r', 'p') ORDER BY 1"""
_TRIGGERS = """
SELECT tgname::text, tgenabled::text FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = tgrelid
WHERE relname IN ({}) AND relnamespace = 'public'::pg_catalog.regnamespace AND NOT tgisinternal""".format(
    ", ".join(f"'{table}'" for table in GUARDED)
)


def lakes(ask: Ask) -> dict[str, str]:
    """The databases on the server that are called as lakes are, with their owners."""
    return dict(ask(_LAKES))


def tables(ask: Ask) -> list[str]:
    """The tables in the schema public of the connected database."""
    return [name for (name,) in ask(_TABLES)]


def of_role(ask: Ask, name: str, database: str, roles: Collection[str]) -> Facts:
    """The role, its lake's database, and who may enter it and `dagster`."""
    place = f"role {name}"
    facts: Facts = {}
    for login, limit, *powers in ask(_ROLE, name):
        facts[place, "login"] = _yes(login)
        facts[place, "connection limit"] = str(limit)
        facts |= {(place, power): _yes(has) for power, has in zip(POWERS, powers, strict=True)}
        facts[place, "member of"] = ", ".join(role for (role,) in ask(_MEMBERSHIPS, name)) or NOTHING
    for where, setting in ask(_SETTINGS, name, [DAGSTER, database]):
        key, _, value = setting.partition("=")
        facts[place, f"{key} in {where}"] = value
    for (owner,) in ask(_OWNER, database):
        facts[f"database {database}", "owner"] = owner
    facts |= _rights(ask(_RIGHTS.format(_DATABASES), [database]), roles)
    return facts | _rights(ask(_RIGHTS.format(_DATABASES), [DAGSTER]), {name})


def of_dagster(ask: Ask, name: str) -> Facts:
    """What a role may do in Dagster's tables; asked in the database `dagster`."""
    questions = (_SCHEMA, _TABLES_RIGHTS, _SEQUENCES)
    facts = _rights([row for question in questions for row in ask(_RIGHTS.format(question))], {name})
    for trigger, state in ask(_TRIGGERS):
        facts[f"trigger {trigger} of {DAGSTER}", "state"] = "enabled" if state in ("O", "A") else "disabled"
    return facts


def of_lake(ask: Ask, roles: Collection[str]) -> Facts:
    """Who has rights in a lake's catalog; asked in its database."""
    questions = (_SCHEMA, _TABLES_RIGHTS, _NEW_TABLES)
    return _rights([row for question in questions for row in ask(_RIGHTS.format(question))], roles)


def _rights(rows: Sequence[tuple[str, str, str, str]], roles: Collection[str]) -> Facts:
    columns: dict[tuple[str, str, str], set[str]] = {}
    for place, role, right, column in rows:
        if role in roles:
            columns.setdefault((place, rights_of(role), right), set()).add(column)
    rights: dict[tuple[str, str], list[str]] = {}
    for (place, whose, right), parts in columns.items():
        # A right on the whole table is one on each of its columns.
        rights.setdefault((place, whose), []).append(right if "" in parts else as_text(right, parts))
    return {fact: ", ".join(sorted(granted)) for fact, granted in rights.items()}


def _yes(value: bool) -> str:
    return "yes" if value else "no"
