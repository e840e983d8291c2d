"""Settings that the repository brings: a file that RECONCILE_SETTINGS names, and keys that .env.example lost."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from operations import environment_file, whole_file
from operations.deployment import Deployment
from operations.errors import StackError

SETTING = "RECONCILE_SETTINGS"
COMPOSE_FILE = "COMPOSE_FILE"
# Settings by which a machine guards itself against its own repository, and against its own end.
GUARDS = ("RECONCILE_", "BACKUP", "BRANCH_SECRETS")


@dataclass(frozen=True)
class Changes:
    """What of .env is to change: values by key, and keys that no file knows any more."""

    values: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    # For people: what is said where.
    said: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.values or self.gone)


def planned(deployment: Deployment, tree: Path) -> Changes:
    """What the files in a tree of the repository make of this machine's .env."""
    present = environment_file.parse(_text(deployment.env_file), str(deployment.env_file))
    example = environment_file.parse(_text(tree / ".env.example"), ".env.example")
    before = environment_file.parse(_text(deployment.example), ".env.example")
    gone = tuple(key for key in present if key in before and key not in example)
    for key in gone:
        _require_no_guard(present[key])
    named = present[SETTING].value if SETTING in present else ""
    if not named:
        return _without_lost_overlays(deployment, tree, present, Changes(gone=gone))
    wanted = environment_file.parse(_settings_text(tree, named), named)
    for key, setting in wanted.items():
        _require_legal(named, setting, known=key in example or key.startswith("COMPOSE_"))
    differs = {
        key: each.value for key, each in wanted.items() if key not in present or present[key].value != each.value
    }
    said = [f"{key} is {present[key].value if key in present else 'not set'!r}, {named} says {value!r}"
            for key, value in differs.items()]  # fmt: skip
    return _without_lost_overlays(deployment, tree, present, Changes(differs, gone, tuple(said)))


def _without_lost_overlays(
    deployment: Deployment, tree: Path, present: Mapping[str, environment_file.Setting], changes: Changes
) -> Changes:
    """Overlays that the commit takes away, as with the last location that used one, leave COMPOSE_FILE as well."""
    default = present[COMPOSE_FILE].value if COMPOSE_FILE in present else ""
    files = changes.values.get(COMPOSE_FILE, default).split(":")
    kept = [file for file in files if not _is_lost(deployment.root, tree, file)]
    if kept == files:
        return changes
    said = f"{COMPOSE_FILE} names {', '.join(sorted(set(files) - set(kept)))}, which the commit does not have"
    return replace(changes, values={**changes.values, COMPOSE_FILE: ":".join(kept)}, said=(*changes.said, said))


def _is_lost(root: Path, tree: Path, file: str) -> bool:
    # Overlays in deploy/ are the repository's; others are this machine's own.
    return file.startswith("deploy/") and (root / file).is_file() and not (tree / file).exists()


def _require_legal(file: str, setting: environment_file.Setting, *, known: bool) -> None:
    place = f"{file}:{setting.line}: {setting.key}"
    if setting.key.startswith("RECONCILE_"):
        raise StackError(
            f"{place} is for this machine to say",
            "no setting of reconcile itself: a commit must not decide who may sign it",
            f"set it in .env, and take it out of {file}",
        )
    if setting.key.endswith("_TAG"):
        raise StackError(
            f"{place} is written by deploy and rollback",
            "no image tags: which release runs follows from the commit",
            f"take it out of {file}; an image of another repository is named in docker-compose.yml",
        )
    if not known:
        raise StackError(f"{place} is no setting", "keys of .env.example", f"edit line {setting.line} of {file}")


def _require_no_guard(here: environment_file.Setting) -> None:
    """A commit that no longer knows a setting takes it out of .env; not who may sign commits, nor where backups go, nor
    what a branch may know. Nor where it stands as it is documented: a commit before may have documented just that."""
    if here.key.startswith(GUARDS) and here.value:
        raise StackError(
            f".env.example of the commit has no {here.key}, which is set on this machine",
            "commits that leave the guards of this machine as they are",
            f"take {here.key} out of .env on this machine and repeat, if it is to go; else put it back by a new commit",
        )


def _settings_text(tree: Path, named: str) -> str:
    path = tree / named
    if Path(named).is_absolute() or ".." in Path(named).parts or not _is_file_of(tree, path):
        raise StackError(
            f"{SETTING} is {named}, and the commit has no such file",
            "a file of the repository, or of a submodule, with lines KEY=value",
            f"add it, or empty {SETTING} in .env",
        )
    return _text(path)


def _is_file_of(tree: Path, path: Path) -> bool:
    """A link of the commit may lead to a file that is this machine's secret."""
    try:
        return path.is_file() and path.resolve().is_relative_to(tree.resolve())
    except (OSError, ValueError):
        return False


def rewritten(text: str, changes: Changes) -> str:
    """The text of .env with the changes; all other lines as they are."""
    present = environment_file.parse(text, ".env")
    lines: list[str | None] = list(text.splitlines())
    for key in set(changes.gone) & set(present):
        lines[present[key].line - 1] = None
    for key, value in changes.values.items():
        if key in present:
            lines[present[key].line - 1] = environment_file.line_of(key, value)
        else:
            lines.append(environment_file.line_of(key, value))
    return "\n".join(line for line in lines if line is not None) + "\n"


def raw(deployment: Deployment) -> dict[str, str]:
    """The values of .env, whatever .env.example knows at the moment."""
    parsed = environment_file.parse(_text(deployment.env_file), str(deployment.env_file))
    return {key: setting.value for key, setting in parsed.items()}


def write(deployment: Deployment, changes: Changes) -> None:
    """Carry the changes over to .env."""
    if changes:
        replace_env(deployment, rewritten(_text(deployment.env_file), changes))


def replace_env(deployment: Deployment, text: str) -> None:
    """Put a whole .env in place, at once."""
    whole_file.replace(deployment.env_file, text, deployment.env_file.stat().st_mode & 0o777)


def of_candidate(deployment: Deployment, tree: Path, changes: Changes) -> Deployment:
    """The deployment as it would be in the tree of a commit, with settings to check and to build it by."""
    candidate = Deployment(tree, deployment.name)
    secrets = str(deployment.secrets())
    text = rewritten(_text(deployment.env_file), changes)
    text = rewritten(text, Changes({"SECRETS_DIR": secrets}))
    whole_file.replace(candidate.env_file, text, 0o600)
    environment_file.append_new(candidate.env_file, candidate.example)
    for file in candidate.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":"):
        # An overlay that is this machine's own, and no commit's.
        here, there = deployment.root / file, tree / file
        if not file.startswith("deploy/") and here.is_file() and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(here)
    return candidate


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}", "a UTF-8 text file with settings") from error
