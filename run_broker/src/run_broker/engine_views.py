"""The parts of the engine's answers that the broker reads, typed; anything else in them is left alone."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal


def _or_empty_dict(value: Any) -> Any:
    return {} if value is None else value


def _or_empty_list(value: Any) -> Any:
    return [] if value is None else value


# The engine is a Go program: an empty list or map may be null.
Labels = Annotated[dict[str, str], BeforeValidator(_or_empty_dict)]
Document = Annotated[dict[str, Any], BeforeValidator(_or_empty_dict)]
Strings = Annotated[list[str], BeforeValidator(_or_empty_list)]


class View(BaseModel):
    """Reads PascalCase keys, ignores unknown ones."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_pascal, populate_by_name=True)


class ContainerState(View):
    """What the engine says a container is doing."""

    status: str
    running: bool = False
    oom_killed: bool = Field(default=False, alias="OOMKilled")
    exit_code: int = 0
    error: str = ""
    started_at: str = ""
    finished_at: str = ""


class ContainerConfig(View):
    """A container's portable settings."""

    image: str = ""
    user: str = ""
    env: Strings = []
    cmd: Strings = []
    labels: Labels = {}
    stop_timeout: int | None = None


class NetworkSettings(View):
    """The networks a container is on, by name."""

    networks: Document = {}


class Mount(View):
    """A mount as the engine resolved it."""

    type: str = ""
    name: str = ""
    source: str = ""


class Container(View):
    """The answer to inspect."""

    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str
    created: str = ""
    image: str
    state: ContainerState
    config: ContainerConfig
    host_config: Document = {}
    network_settings: NetworkSettings = NetworkSettings()
    mounts: Annotated[list[Mount], BeforeValidator(_or_empty_list)] = []


class Summary(View):
    """One row of the list of containers."""

    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    names: Strings = []
    image: str = ""
    image_id: str = Field(default="", alias="ImageID")
    state: str = ""
    status: str = ""
    created: int = 0
    labels: Labels = {}


class ImageConfig(View):
    """What an image sets for its containers."""

    env: Strings = []
    labels: Labels = {}


class Image(View):
    """The answer to an image's inspect."""

    id: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    config: Annotated[ImageConfig, BeforeValidator(_or_empty_dict)] = ImageConfig()
