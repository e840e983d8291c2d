"""Runs inside the daemon's image: dagster.yaml against Dagster's schema, and each class it names against its own."""

import os
import sys

import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData


def main() -> int:
    """Print every problem; non-zero when there is one."""
    home = os.environ["DAGSTER_HOME"]
    try:
        dagster_instance_config(home)
        reference = InstanceRef.from_dir(home)
    except Exception as error:
        print(str(error), file=sys.stderr)
        return 1
    problems = []
    for field, data in reference._asdict().items():
        if isinstance(data, ConfigurableClassData):
            problems += [f"{field}: {problem}" for problem in check(data)]
    print("\n".join(problems), file=sys.stderr)
    return 1 if problems else 0


def check(data: ConfigurableClassData) -> list[str]:
    """Problems of one class and its settings, without making an instance, which might connect to something."""
    try:
        module = __import__(data.module_name, fromlist=[data.class_name])
        configurable = getattr(module, data.class_name)
        if not hasattr(configurable, "config_type"):
            # An instance class: its settings are part of the schema, which has been looked at.
            return []
        config_type = resolve_to_config_type(configurable.config_type())
    except (ImportError, AttributeError) as error:
        return [f"{data.module_name}.{data.class_name} cannot be loaded: {error}"]
    result = process_config(config_type, yaml.safe_load(data.config_yaml) or {})
    return [error.message for error in result.errors or []]


if __name__ == "__main__":
    sys.exit(main())
