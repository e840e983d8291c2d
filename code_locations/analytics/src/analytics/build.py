"""Run when the image is built: parse the dbt project, so that neither a start nor a run pays for it again."""

import shutil

from analytics import project
from platform_kit.environment import Environment, Kind

# Their manifests differ in nothing but the name of the target, which dbt checks before it reuses one.
BUILT = (Environment(Kind.PROD, "prod", project.LOCATION), Environment(Kind.BRANCH, "branch-0", project.LOCATION))


def main() -> None:
    """Parse the project for each target that runs from an image."""
    for environment in BUILT:
        folder = project.PREPARED / environment.dbt_target
        shutil.rmtree(folder, ignore_errors=True)
        project.parse(environment, folder)
        (folder / "dbt.log").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
