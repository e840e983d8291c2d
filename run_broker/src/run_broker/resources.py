"""How much memory and processor a run gets: the location's labels, lowered or raised by the run within their caps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from run_broker.create_request import CPUS_LABEL, KEEP_LABEL, MEMORY_LABEL
from run_broker.engine_views import Container, Image
from run_broker.refusal import Refusal
from run_broker.units import parse_cpus, parse_memory, show_cpus, show_memory


@dataclass(frozen=True)
class Resources:
    """Bytes, and billionths of a processor."""

    memory: int
    nano_cpus: int


def decide_resources(
    server: Container, server_image: Image | None, asked: tuple[int | None, int | None], fallback: tuple[int, int]
) -> Resources:
    """What a run gets when it asks for `asked` (None: the default).

    The default is the code server's label, else its own limit, else the broker's setting. The cap is the label ending
    in `.max`; without one the default is the cap.
    """
    labels = _own_labels(server, server_image)
    limits = server.host_config
    memory = _decide(labels, MEMORY_LABEL, limits.get("Memory") or fallback[0], asked[0], parse_memory, show_memory)
    return Resources(
        memory, _decide(labels, CPUS_LABEL, limits.get("NanoCpus") or fallback[1], asked[1], parse_cpus, show_cpus)
    )


def decide_warm(server: Container, server_image: Image | None) -> int:
    """How many containers are to wait for this location's runs: its label `run.warm`, by default none."""
    return _read(_own_labels(server, server_image), KEEP_LABEL, _parse_number) or 0


def _own_labels(server: Container, server_image: Image | None) -> dict[str, str]:
    # The engine mixes the image's labels into the container's. An image is the location's word, caps are the
    # deployment's: a label that the image has with the same value does not count.
    from_image = server_image.config.labels.items() if server_image else set[tuple[str, str]]()
    return dict(server.config.labels.items() - from_image)


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        raise ValueError(f"{text[:60]!r} is not a whole number from 0 to 999")
    return int(text)


def _decide(
    labels: Mapping[str, str],
    label: str,
    fallback: int,
    asked: int | None,
    parse: Callable[[str], int],
    show: Callable[[int], str],
) -> int:
    default = _read(labels, label, parse)
    if default is None:
        default = fallback
    cap = _read(labels, label + ".max", parse)
    if cap is None:
        cap = default
    wanted = min(default, cap) if asked is None else asked
    if wanted > cap:
        raise Refusal(
            400,
            "above-cap",
            f"{label}={show(wanted)} is above the cap of the location, {label}.max={show(cap)}: "
            f"ask for less, or raise the label {label}.max of its code server",
        )
    return wanted


def _read(labels: Mapping[str, str], label: str, parse: Callable[[str], int]) -> int | None:
    text = labels.get(label)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise Refusal(409, "bad-location-label", f"the code server's label {label}: {error}") from error
