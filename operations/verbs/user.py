"""user add|remove|list: who may sign in."""

from rich.table import Table

from access import Access, AccessError, load, load_locations
from operations import docker, secret_files, users
from operations.context import Context
from operations.errors import StackError
from operations.users import User

RELOAD = ("exec", "-T", "gateway", "gateway-reload")


def add(context: Context, name: str, groups: list[str], password: str | None, *, replace: bool) -> None:
    """Add a user, or give one that exists another password and groups."""
    people, store = _people(context)
    users.check_name(name)
    if name in people and not replace:
        raise StackError(
            f"there is a user {name!r} already",
            "a new name",
            f"{context.deployment.stack} user add {name} --replace changes password and groups",
        )
    chosen = users.check_password(password) if password is not None else users.new_password()
    kept = people[name].groups if name in people and not groups else tuple(groups)
    after = {**people, name: users.new_user(name, chosen, kept)}
    _require_admin(context, people, after)
    _apply(context, store, after)
    if name == "admin":
        _keep_admin_password(context, chosen)
    context.report.say(f"{'Changed' if name in people else 'Added'} {name}, {_described(after[name])}")
    if password is None and name != "admin":
        context.report.say(f"Password (shown once): {chosen}")
    _say_role(context, after[name])


def remove(context: Context, name: str) -> None:
    """Remove a user."""
    people, store = _people(context)
    if name not in people:
        raise StackError(
            f"there is no user {name!r}",
            f"one of {', '.join(people) or 'none yet'}",
            f"{context.deployment.stack} user list",
        )
    after = {key: user for key, user in people.items() if key != name}
    _require_admin(context, people, after)
    _apply(context, store, after)
    context.report.say(f"Removed {name}")


def show(context: Context) -> None:
    """List users, their groups, and what access.yaml makes of them."""
    people, _ = _people(context)
    access = _access(context)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("USER", "GROUPS", "ROLE"):
        table.add_column(column)
    for user in people.values():
        table.add_row(user.name, ", ".join(user.groups), _role(access, user))
    context.report.show(table)


def _people(context: Context) -> tuple[dict[str, User], users.Users]:
    context.deployment.require_env()
    directory = context.deployment.secrets()
    if not directory.is_dir():
        raise StackError(f"{directory} does not exist", "the directory of secrets", f"{context.deployment.stack} up")
    store = users.Users(directory)
    return store.read(), store


def _access(context: Context) -> Access:
    root = context.deployment.root
    try:
        return load(root / "access.yaml", load_locations(root / "workspace.yaml"))
    except AccessError as error:
        raise StackError(str(error), "a valid access.yaml and workspace.yaml", "correct it") from error


def _require_admin(context: Context, before: dict[str, User], after: dict[str, User]) -> None:
    """Somebody has to be left who can do everything; a stack that never had an admin is not made worse."""
    access = _access(context)
    had, has = _admins(access, before), _admins(access, after)
    if had and not has:
        raise StackError(
            f"{', '.join(had)} would be the last admin to go",
            "at least one user who is an admin in access.yaml",
            "add another admin first, for instance: user add NAME --group platform",
        )


def _admins(access: Access, people: dict[str, User]) -> list[str]:
    return [user.name for user in people.values() if access.permissions(user.name, user.groups).is_admin]


def _apply(context: Context, store: users.Users, people: dict[str, User]) -> None:
    """Write the files and have a running gateway read them."""
    store.write(people.values())
    running = context.executor.run(
        docker.compose(context.deployment, "ps", "--quiet", "--status", "running", "gateway"), check=False
    )
    if not running.ok or not running.stdout.strip():
        context.report.say("The gateway does not run; it reads the change when it starts.")
        return
    reloaded = context.executor.run(docker.compose(context.deployment, *RELOAD), check=False, timeout=30)
    if not reloaded.ok:
        raise StackError(
            f"the change is written, but the gateway did not take it: {reloaded.last_words}",
            "a gateway that reloads",
            f"{context.deployment.stack} doctor; restarting the gateway reads the files as well",
        )


def _keep_admin_password(context: Context, password: str) -> None:
    # ./stack itself signs in as admin: the file follows the user.
    path = context.deployment.secrets() / "admin_password"
    if not secret_files.create(path, password):
        secret_files.rewrite(path, password)
    context.report.say(f"The password is in {context.deployment.shown(path)}")


def _described(user: User) -> str:
    return f"in {', '.join(user.groups)}" if user.groups else "in no group"


def _say_role(context: Context, user: User) -> None:
    role = _role(_access(context), user)
    context.report.say(f"Role by access.yaml: {role}")


def _role(access: Access, user: User) -> str:
    permissions = access.permissions(user.name, user.groups)
    editable = (
        f" of {', '.join(sorted(permissions.editable))}" if permissions.editable and not permissions.is_admin else ""
    )
    return f"{permissions.role.value}{editable}"
