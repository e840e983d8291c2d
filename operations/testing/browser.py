"""The browser that the end-to-end tests drive: the distribution's, for none can be downloaded everywhere."""

from operations import packages
from operations.context import Context
from operations.errors import StackError
from operations.preflight import carry_out

# What Debian and others call it; the tests look for the same names.
NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL: list[packages.Step] = [("apt-get", "--quiet", "update"), packages.apt_install("chromium")]


def provide(context: Context) -> None:
    """Install chromium where it is missing and this is root on Debian; else say what to install."""
    if any(context.executor.run([name, "--version"], check=False).ok for name in NAMES):
        return
    if not context.host.is_root or context.host.distribution().id != "debian":
        raise StackError(
            "found no chromium",
            f"one of {', '.join(NAMES)} on the PATH: the end-to-end tests sign in with a real browser",
            f"install it (Debian, as root: {packages.spell_out(INSTALL)}), or run ./stack test --fast",
        )
    with context.report.step("Install chromium for the end-to-end tests") as step:
        carry_out(context, INSTALL, step.update)
