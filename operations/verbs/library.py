"""library release: a version of platform_kit, and the locations that take it."""

from operations.context import Context
from operations.library import adoption, release
from operations.library.release import Library


def publish(context: Context, version: str | None, bump: str | None, into: list[str]) -> int:
    """Release a version, give it to locations; 1 when one of them does not take it."""
    root = context.deployment.root
    library = Library(root)
    wanted = release.chosen(library, version, bump)
    # Before anything is built: a mistyped location leaves no release behind.
    before = {location: adoption.pinned(root / "code_locations" / location) for location in into}
    if wanted in library.released() and into:
        context.report.say(f"platform_kit {wanted} is released already; nothing is built.")
    else:
        wheel = release.release(context, library, wanted)
        context.report.say(f"Released platform_kit {wanted}: {context.deployment.shown(wheel)}")
        context.report.say(f"  sha256 {release.checksum(wheel)}")
    results = [adoption.adopt(context, location, wanted) for location in before]
    context.report.say()
    for result in results:
        if result.why:
            context.report.problem(
                f"{result.location} stays on {result.before}: {result.why}",
                f"its tests to pass with platform_kit {wanted}",
                f"its team mends it, then ./stack library release --version {wanted} --into {result.location}",
            )
        else:
            context.report.say(f"✓ {result.location}: {result.before} → {wanted}, {result.passed} tests passed")
    changed = [result.location for result in results if not result.why]
    context.report.say(_next(wanted, changed))
    return 1 if any(result.why for result in results) else 0


def _next(version: str, changed: list[str]) -> str:
    paths = ["libraries", *(f"code_locations/{location}" for location in changed)]
    command = f'git add {" ".join(paths)} && git commit -m "Release platform_kit {version}"'
    return f"Commit wheel, version and locks together: {command}"
