"""restore: everything is brought back beside what is there and checked; only then does it take its place."""

from dataclasses import dataclass
from typing import Any

from operations import base_image, docker, environment_file, preflight, prepare
from operations.backups import apart, asking, attempt, journal, record, shown, source, target
from operations.backups.source import Source
from operations.context import Context
from operations.errors import StackError
from operations.signals import as_interrupts
from operations.upgrades import cluster, gate
from operations.upgrades import journal as upgrade_journal
from operations.verbs import up as up_verb

GIB = 1024**3
# Beside what comes back: the log that is replayed, and what Postgres needs while it does.
SPARE = GIB
# As `up` ends when all is up but something wants to be looked at.
NOT_WHOLE = 3


@dataclass(frozen=True)
class Wish:
    """What somebody asked for."""

    at: str = ""
    origin: str = ""
    overwrite: bool = False
    incomplete: bool = False


def restore(context: Context, wish: Wish) -> int:
    """Bring a deployment back; returns the exit code: 3 when a location's lake lacks files."""
    with as_interrupts():
        unfinished = journal.read(context.deployment)
        if unfinished is not None:
            context.report.say(f"Takes up the restore of {unfinished.set} that was interrupted.")
            attempt.end_former(context)
            return _take_over(context, source.resolve(context.deployment, unfinished.origin), unfinished)
        preflight.require_tools(context)
        found = source.resolve(context.deployment, wish.origin)
        _require_repository(context, found)
        with attempt.undone_on_failure(context):
            entry = _prepared(context, found, wish)
        return _take_over(context, found, entry)


def _prepared(context: Context, found: Source, wish: Wish) -> journal.Entry:
    """All up to the moment before anything is overwritten, at whose end the journal is written."""
    _prepare(context)
    attempt.end_former(context)
    plan = _plan(context, found, wish)
    fresh = not plan["occupied"]
    _require_leave(context, plan, wish)
    _require_room(context, plan)
    recorded = _recorded(context, found, plan["base"]["name"])
    gate.require_backup(context, recorded)
    if fresh:
        _settings(context, recorded, copy=_is_copy(context, plan))
    _require_volumes(context, plan)
    _make_volumes(context)
    staged = _stage(context, found, plan, wish)
    staged["inherits"] = "" if _is_copy(context, plan) else plan.get("owner", "")
    staged["without"] = plan.get("without", [])
    entry = journal.Entry(wish.origin, plan["base"]["name"], plan["at"] or "", fresh, staged)
    journal.write(context.deployment, entry)
    return entry


def _require_repository(context: Context, found: Source) -> None:
    """A volume that is not there must not be made by looking into it."""
    if found.is_s3 or not found.is_volume:
        return
    known = context.executor.run(["docker", "volume", "inspect", found.mount], check=False, timeout=30)
    if not known.ok:
        raise StackError(
            f"there are no backups: no volume {found.mount}",
            "BACKUP_DIRECTORY or BACKUP_S3_… in .env to name the repository, or --from to name a folder",
            f"cp .env.example {context.deployment.shown(context.deployment.env_file)}, fill in BACKUP_…, and repeat; "
            "or ./stack restore --from /the/folder",
        )


def _prepare(context: Context) -> None:
    """What the question needs: settings and secrets as `up` makes them, and the image of the service."""
    prepare.settings(context)
    prepare.make_secrets(context)
    if "backup" not in context.config["services"]:
        raise StackError(
            "this deployment has no service backup, for its database is another server",
            "the bundled database",
            "restore that server by its own means, then ./stack up",
        )
    base_image.provide(context)
    with context.report.step("Build the backup's image") as step:
        context.executor.stream(docker.build(context.deployment, ["backup"]), step.update)


def _plan(context: Context, found: Source, wish: Wish) -> dict[str, Any]:
    """The set and the moment, told."""
    question = ["plan", *([f"--at={wish.at}"] if wish.at else [])]
    with context.report.step("Look into the repository") as step:
        plan: dict[str, Any] = asking.alone(context, apart.write(context, found), *question, on_step=step.update)
        step.done(plan["repository"])
    base = plan["base"]
    context.report.say(f"  Backup:  {base['name']} ({base['kind']}) of {plan['deployment']}")
    context.report.say(f"  Moment:  {shown.moment(plan['moment'])}")
    if plan["later"]:
        context.report.say(f"           its later files come from {plan['later']['name']}")
    if plan["remark"]:
        context.report.say(f"  Note:    {plan['remark']}")
    for lake in plan.get("incomplete", []):
        reason = plan.get("failed", {}).get(lake, "the later files of it are incomplete")
        context.report.warn(f"{lake} lacks files in this backup: {reason}")
    return plan


def _require_leave(context: Context, plan: dict[str, Any], wish: Wish) -> None:
    if plan["occupied"] and not wish.overwrite:
        deployment = context.deployment
        raise StackError(
            f"{deployment.name} has data: {', '.join(plan['occupied'])}",
            "a deployment without data, or --overwrite",
            f"{deployment.stack} restore --overwrite replaces it; or restore beside it: "
            f"./stack --deployment restored restore --from {deployment.name}",
        )
    if plan["occupied"] and plan.get("incomplete") and not wish.incomplete:
        lakes = ", ".join(plan["incomplete"])
        raise StackError(
            f"the backup {plan['base']['name']} lacks files of {lakes}, and there is data that it would replace",
            "a backup with all files, or leave to bring back all else",
            f"--incomplete brings back all but what {lakes} lacks; --at takes a backup from before "
            f"({context.deployment.stack} backup list)",
        )


def _require_room(context: Context, plan: dict[str, Any]) -> None:
    where = context.executor.run(["docker", "info", "--format", "{{.DockerRootDir}}"], check=False).stdout.strip()
    free = context.host.free_disk(where) if where else None
    need = int(plan["bytes"]) + SPARE
    if free is not None and free < need:
        raise StackError(
            f"{free / GIB:.1f} GiB are free in {where}",
            f"{need / GIB:.1f} GiB: what comes back is laid beside what is there until it is checked",
            "free some, or restore on a machine with a larger disk",
        )


def _settings(context: Context, recorded: dict[str, Any], *, copy: bool) -> None:
    """Nothing is there yet that could be lost: settings and secrets first, for they say which services there are."""
    came = target.write(context, recorded, copy=copy)
    target.write_state(context.deployment, recorded)
    context.report.say(
        f"Brought back: .env; in {context.deployment.shown(context.deployment.secrets())}: {', '.join(came)}"
    )
    _tell_commit(context, recorded)
    # A release's image may have gone with the machine; then it is built from this checkout.
    for key in target.released(context.deployment.settings()):
        _local_unless_there(context, key)
    prepare.make_secrets(context)


def _local_unless_there(context: Context, key: str) -> None:
    settings = context.deployment.settings()
    name = key.removesuffix("_TAG").lower()
    image = f"{context.deployment.name}/{name}:{settings[key]}"
    if context.executor.run(["docker", "image", "inspect", image], check=False, timeout=30).ok:
        return
    context.report.warn(f"{image} is not on this machine: {name} is built from this checkout ({key}=local)")
    environment_file.set_value(context.deployment.env_file, key, "local")
    context.__dict__.pop("config", None)


def _is_copy(context: Context, plan: dict[str, Any]) -> bool:
    return bool(plan["deployment"] != context.deployment.name)


def _recorded(context: Context, found: Source, name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = asking.alone(context, apart.write(context, found), "record", "--set", name)
    if not recorded:
        raise StackError(
            f"the backup {name} holds no settings",
            "one that ./stack wrote its record for",
            "choose a later one with --at, or write .env by hand and add --overwrite",
        )
    return recorded


def _tell_commit(context: Context, recorded: dict[str, Any]) -> None:
    here = context.executor.run(["git", "rev-parse", "HEAD"], check=False, timeout=20).stdout.strip()
    if recorded["commit"] and recorded["commit"] != here:
        context.report.warn(
            f"the backup was made at commit {recorded['commit'][:12]}, this checkout is at {here[:12] or 'no commit'}: "
            "to have the same services and locations, check that one out"
        )
    if recorded["changed_files"]:
        context.report.warn("not in git then, and so not in the backup: " + ", ".join(recorded["changed_files"][:10]))


def _make_volumes(context: Context) -> None:
    """Volumes take their owner from the image of who mounts them first: all are made as at a first start."""
    with context.report.step("Build images") as step:
        context.executor.stream(docker.build(context.deployment), step.update)
    with context.report.step("Make volumes") as step:
        create = ("--progress", "plain", "up", "--no-start", "--no-build", "--no-recreate")
        context.executor.stream(docker.compose(context.deployment, *create), step.update)


def _require_volumes(context: Context, plan: dict[str, Any]) -> None:
    absent = sorted(set(plan.get("folders", [])) - apart.lakes(context.config))
    if absent:
        raise StackError(
            f"the backup has lakes for which this deployment has no volume: {', '.join(absent)}",
            "the code locations that there were then",
            "check out the commit that it was made at (told above), and repeat",
        )


def _stage(context: Context, found: Source, plan: dict[str, Any], wish: Wish) -> dict[str, Any]:
    chosen = ["--set", plan["base"]["name"], *(["--at", plan["at"]] if plan["at"] else [])]
    with context.report.step("Restore beside what is there, and check") as step:
        try:
            for lake in plan.get("folders", []):
                # Each by itself: its location may be at work in it meanwhile.
                file = apart.write(context, found, lake)
                asking.alone(context, file, "lay", *chosen, "--lake", lake, on_step=step.update)
            question = ["stage", *chosen, *(["--incomplete"] if wish.incomplete else [])]
            file = apart.write(context, found)
            staged: dict[str, Any] = asking.alone(context, file, *question, on_step=step.update)
        except BaseException:
            attempt.end_former(context)
            asking.alone(context, apart.write(context, found), "discard")
            raise
        files = sum(lake["files"] for lake in staged["lakes"])
        step.done(f"{len(staged['lakes'])} lakes, {files} files, {staged['history'].get('runs', 0)} runs")
    return staged


def _take_over(context: Context, found: Source, entry: journal.Entry) -> int:
    """From here on the old gives way. Each step may be repeated; the journal stays until the last."""
    file = apart.write(context, found)
    # Of an upgrade that was killed: they go on by themselves, in the volume that is replaced.
    cluster.stop(context)
    if context.containers():
        with context.report.step("Stop the deployment") as step:
            context.executor.stream(docker.stop(context.deployment, delete_data=False), step.update)
    with context.report.step("Put it in place"):
        asking.alone(context, file, "swap")
    # What an upgrade was about to put back is replaced.
    upgrade_journal.forget(context.deployment)
    if not entry.fresh:
        recorded = _recorded(context, found, entry.set)
        missing = target.write_secrets(context.deployment.secrets(), recorded["secrets"], overwrite=False)
        if missing:
            context.report.say(f"Brought back secrets that were missing: {', '.join(missing)}")
    if entry.staged.get("inherits"):
        target.inherit(context.deployment, entry.staged["inherits"])
    code = up_verb.up(context)
    with context.report.step("Delete what was there before"):
        asking.alone(context, file, "finish")
    journal.remove(context.deployment)
    file.unlink(missing_ok=True)
    shown.report(context, entry)
    if not record.write(context):
        context.report.warn("the record of settings could not be written; ./stack up writes it")
    return code or (NOT_WHOLE if entry.staged["problems"] else 0)
