"""What reconcile refuses before anything is built: histories, files and signatures that are not what they should be."""

import os
import subprocess
from pathlib import Path

import pytest

from operations.errors import StackError
from operations.reconcile import reconciling, settings
from operations.tests.reconcile_world import World, git


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch)
    assert made.reconcile().result == "applied"
    made.engine.effects.clear()
    return made


def refused(world: World, match: str) -> None:
    """It is refused with these words, and neither checkout nor containers have changed."""
    before, head = world.ids(), world.head
    with pytest.raises(StackError, match=match):
        world.reconcile()
    assert (world.ids(), world.head) == (before, head)
    assert {"build", "up", "merge", "reset"} & {word for call in world.engine.effects for word in call} == set()
    assert world.records.memory().failed is None
    assert 'stack_reconcile_in_step{deployment="prod"} 0' in world.records.metrics.read_text()


def test_a_remote_that_is_away(world: World) -> None:
    os.rename(world.remote, world.remote.with_name("away"))
    refused(world, "the remote origin does not answer")


def test_a_branch_that_does_not_exist(world: World) -> None:
    world.set(RECONCILE_BRANCH="release")
    refused(world, "the remote origin has no branch release")


def test_another_branch_is_followed_when_it_is_named(world: World) -> None:
    git(world.author, "push", "--quiet", "origin", "HEAD:refs/heads/release")
    world.set(RECONCILE_BRANCH="release")
    main = world.commit("On main", **{"gateway/code": "gateway 2\n"})
    assert world.reconcile().result == "in step"
    git(world.author, "push", "--quiet", "origin", "HEAD:refs/heads/release")
    assert (world.reconcile().result, world.head) == ("applied", main)


def test_a_checkout_that_follows_nothing(world: World) -> None:
    git(world.vm, "checkout", "--quiet", "--detach")
    refused(world, "a detached HEAD follows no branch")


def test_a_history_that_was_rewritten(world: World) -> None:
    git(world.author, "commit", "--quiet", "--amend", "-m", "Another first")
    world.commit("Second", **{"gateway/code": "gateway 2\n"})
    refused(world, "the history of origin/main was rewritten")


def test_a_branch_that_was_set_back(world: World) -> None:
    world.commit("Second", **{"gateway/code": "gateway 2\n"})
    world.reconcile()
    world.engine.effects.clear()
    git(world.author, "reset", "--quiet", "--hard", world.first)
    git(world.author, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
    refused(world, "is older than this checkout")


def test_local_changes_are_named(world: World) -> None:
    (world.vm / "gateway/code").write_text("mine\n")
    (world.vm / "webserver/code").unlink()
    world.commit("Second", **{"daemon/code": "daemon 2\n"})
    refused(world, "differ from its commit: gateway/code, webserver/code")
    assert (world.vm / "gateway/code").read_text() == "mine\n"


def test_files_that_nobody_tracks_do_not_matter_until_a_commit_brings_them(world: World) -> None:
    (world.vm / "notes.txt").write_text("mine\n")
    assert world.reconcile().result == "in step"
    world.commit("Notes", **{"notes.txt": "theirs\n"})
    refused(world, "git does not know are where the commit .* brings its own: notes.txt")
    assert (world.vm / "notes.txt").read_text() == "mine\n"


@pytest.mark.parametrize("name", [".env", "secrets/postgres_password", ".stack/prod/paused"])
def test_a_commit_must_not_bring_what_belongs_to_the_machine(world: World, name: str) -> None:
    before = (world.vm / ".env").read_text()
    path = world.author / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("X=1\n")
    git(world.author, "add", "--force", name)
    world.commit("Own")
    refused(world, f"contains {name}")
    assert (world.vm / ".env").read_text() == before


def test_a_folder_that_is_no_checkout(world: World) -> None:
    os.rename(world.vm / ".git", world.vm / "git")
    with pytest.raises(StackError, match="is no git checkout"):
        world.reconcile()


# --- signatures -----------------------------------------------------------------------------------


class Keys:
    """Keys of people, and the machine's list of those who may."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        for name in ("ada", "eve"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
            subprocess.run(command, check=True)
        self.file = folder / "signers"
        self.file.write_text(f'ada@example.org namespaces="git" {(folder / "ada.pub").read_text()}')
        world.set(RECONCILE_SIGNERS=str(self.file))

    def commit(self, who: str, subject: str = "Signed", **files: str | None) -> str:
        git(self.world.author, "config", "gpg.format", "ssh")
        git(self.world.author, "config", "user.signingkey", str(self.folder / who))
        return self.world.commit(subject, "-S", **files)


@pytest.fixture
def keys(world: World, tmp_path: Path) -> Keys:
    folder = tmp_path / "keys"
    folder.mkdir()
    return Keys(folder, world)


def test_a_commit_by_an_allowed_signer_is_applied_and_the_history_names_them(world: World, keys: Keys) -> None:
    world.commit("Not signed, below one that is", **{"gateway/code": "gateway 2\n"})
    commit = keys.commit("ada")
    assert world.reconcile().result == "applied"
    assert world.head == commit
    assert world.records.history()[-1]["signer"] == "ada@example.org"
    assert "signed by ada@example.org" in world.told()


def test_an_unsigned_commit(world: World, keys: Keys) -> None:
    world.commit("Not signed", **{"gateway/code": "gateway 2\n"})
    refused(world, "is not signed by one of")


def test_a_commit_by_a_stranger(world: World, keys: Keys) -> None:
    keys.commit("eve", **{"gateway/code": "gateway 2\n"})
    refused(world, "is not signed by one of")


def test_a_signed_commit_below_one_that_is_not_does_not_help(world: World, keys: Keys) -> None:
    keys.commit("ada")
    world.commit("Not signed", **{"gateway/code": "gateway 2\n"})
    refused(world, "is not signed by one of")


def test_a_key_that_was_taken_off_the_list(world: World, keys: Keys) -> None:
    keys.commit("ada")
    keys.file.write_text(f"eve@example.org {(keys.folder / 'eve.pub').read_text()}")
    refused(world, "is not signed by one of")


def test_a_signature_that_was_carried_over_to_another_commit(world: World, keys: Keys) -> None:
    keys.commit("ada", **{"gateway/code": "gateway 2\n"})
    signed = git(world.author, "cat-file", "commit", "HEAD")
    (world.author / "gateway/code").write_text("evil\n")
    git(world.author, "add", "--all")
    forged = signed.replace(git(world.author, "rev-parse", "HEAD^{tree}"), git(world.author, "write-tree"))
    done = subprocess.run(
        ["git", "-C", str(world.author), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=forged + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    git(world.author, "push", "--quiet", "--force", "origin", f"{done.stdout.strip()}:refs/heads/main")
    refused(world, "is not signed by one of")


def test_a_signature_of_another_kind_is_not_asked_of_this_machines_key_ring(world: World, keys: Keys) -> None:
    # A program in place of gpg that would call everything good.
    good = keys.folder / "gpg"
    good.write_text("#!/bin/sh\necho '[GNUPG:] GOODSIG 0 x'\necho '[GNUPG:] TRUST_ULTIMATE 0'\nexit 0\n")
    good.chmod(0o755)
    git(world.vm, "config", "gpg.program", str(good))
    git(world.vm, "config", "gpg.openpgp.program", str(good))
    world.commit("Signed otherwise", **{"gateway/code": "gateway 2\n"})
    text = git(world.author, "cat-file", "commit", "HEAD")
    headers, _, message = text.partition("\n\n")
    armour = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    done = subprocess.run(
        ["git", "-C", str(world.author), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=f"{headers}\n{armour}\n\n{message}\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    git(world.author, "push", "--quiet", "--force", "origin", f"{done.stdout.strip()}:refs/heads/main")
    refused(world, "is not signed by one of")


@pytest.mark.parametrize("where", ["signers", "deploy/signers"])
def test_the_list_of_signers_must_not_come_with_a_commit(world: World, keys: Keys, where: str) -> None:
    keys.commit("eve", **{where: f"eve@example.org {(keys.folder / 'eve.pub').read_text()}"})
    (world.vm / where).parent.mkdir(exist_ok=True)
    world.set(RECONCILE_SIGNERS=where)
    if where == "signers":
        # Not there yet: the commit would bring it.
        refused(world, "there is no such file")
        return
    (world.vm / where).write_text(keys.file.read_text())
    refused(world, "git does not know are where|is part of the repository")


def test_a_list_that_the_checkout_tracks_already(world: World, keys: Keys) -> None:
    world.set(RECONCILE_SIGNERS="")
    world.commit("List", signers=keys.file.read_text())
    world.reconcile()
    world.engine.effects.clear()
    world.set(RECONCILE_SIGNERS="signers")
    keys.commit("ada")
    refused(world, "is part of the repository")


def test_a_list_behind_a_link_into_the_repository(world: World, keys: Keys) -> None:
    world.set(RECONCILE_SIGNERS="")
    world.commit("List", signers=keys.file.read_text())
    world.reconcile()
    world.engine.effects.clear()
    link = keys.folder / "link"
    link.symlink_to(world.vm / "signers")
    world.set(RECONCILE_SIGNERS=str(link))
    keys.commit("ada")
    refused(world, "is part of the repository")


def test_a_signer_cannot_sign_away_who_may_sign(world: World, keys: Keys) -> None:
    text = (world.author / ".env.example").read_text()
    without = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("RECONCILE_SIGNERS="))
    keys.commit("ada", **{".env.example": without, "gateway/code": "gateway 2\n"})
    before, head = world.ids(), world.head
    with pytest.raises(StackError, match="has no RECONCILE_SIGNERS, which is set on this machine"):
        world.reconcile()
    assert (world.ids(), world.head) == (before, head)
    assert world.setting("RECONCILE_SIGNERS") == str(keys.file)
    # Nor with the next commit, which another key signs.
    keys.commit("eve", **{"gateway/code": "gateway 3\n"})
    with pytest.raises(StackError, match="is not signed by one of"):
        world.reconcile()
    # Nor in two commits, the first of which documents what is set here.
    example = world.vm / ".env.example"
    before_it = example.read_text()
    example.write_text(without + f"RECONCILE_SIGNERS={keys.file}\n")
    with pytest.raises(StackError, match="has no RECONCILE_SIGNERS, which is set on this machine"):
        settings.planned(world.context().deployment, world.author)
    example.write_text(before_it)
    # Where it guards nothing, it goes like any other.
    world.set(RECONCILE_SIGNERS="")
    assert world.reconcile().result == "applied"
    assert "RECONCILE_SIGNERS" not in (world.vm / ".env").read_text()


def test_a_dry_run_refuses_the_same(world: World, keys: Keys) -> None:
    world.commit("Not signed", **{"gateway/code": "gateway 2\n"})
    with pytest.raises(StackError, match="is not signed by one of"):
        reconciling.plan(world.context())


# --- repositories in the repository ----------------------------------------------------------------


def test_settings_and_access_in_a_private_repository_follow_the_commit(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Git asks before it takes a submodule from a folder, as here, and not over the network.
    for key, value in (("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{key}", value)
    private = tmp_path / "private"
    private.mkdir()
    git(private, "init", "--quiet")
    access = (world.author / "access.yaml").read_text()

    def publish(port: str, more: str) -> None:
        (private / "prod.env").write_text(f"GATEWAY_PORT={port}\n")
        (private / "access.yaml").write_text(access + more)
        git(private, "add", "--all")
        git(private, "commit", "--quiet", "-m", "Settings")

    publish("3100", "")
    git(world.author, "submodule", "--quiet", "add", str(private), "settings")
    (world.author / "access.yaml").unlink()
    (world.author / "access.yaml").symlink_to("settings/access.yaml")
    world.set(RECONCILE_SETTINGS="settings/prod.env")
    world.commit("Settings of our own")
    assert world.reconcile().result == "applied"
    assert world.setting("GATEWAY_PORT") == "3100"
    assert (world.vm / "access.yaml").read_text() == access

    before = world.ids()
    publish("3200", "# more\n")
    git(world.author / "settings", "pull", "--quiet", str(private), git(private, "symbolic-ref", "--short", "HEAD"))
    world.commit("Newer settings")
    assert world.reconcile().result == "applied"
    assert world.setting("GATEWAY_PORT") == "3200"
    assert (world.vm / "access.yaml").read_text() == f"{access}# more\n"
    # The webserver reads its file again, and it is still the same one.
    assert {name for name, each in world.ids().items() if each != before[name]} == {"migrate"}
    assert world.reconcile().result == "in step"
