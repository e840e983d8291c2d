"""Sizes, processor shares, durations and the engine's timestamps."""

import re
from datetime import UTC, datetime

_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s?(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE | re.ASCII)
_CPUS = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,6})?", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)?", re.ASCII)
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SMALLEST_MEMORY = 32 * 1024**2
SMALLEST_NANO_CPUS = 50_000_000
LARGEST_MEMORY = 64 * 1024**4
LARGEST_NANO_CPUS = 1024 * 10**9


def parse_memory(text: str) -> int:
    """Bytes of a size such as `512m` or `1.5g`, in powers of 1024 as Docker reads them."""
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a size; expected a number with b, k, m, g or t, such as 512m or 1.5g")
    size = int(float(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()])
    if not SMALLEST_MEMORY <= size <= LARGEST_MEMORY:
        limits = f"{show_memory(SMALLEST_MEMORY)} and {show_memory(LARGEST_MEMORY)}"
        raise ValueError(f"{text[:40]!r} is not between {limits}")
    return size


def parse_cpus(text: str) -> int:
    """Billionths of a processor of a number such as `1` or `0.5`."""
    if _CPUS.fullmatch(text.strip()) is None:
        raise ValueError(f"{text[:40]!r} is not a number of processors; expected a number such as 1 or 0.5")
    nano = round(float(text) * 10**9)
    if not SMALLEST_NANO_CPUS <= nano <= LARGEST_NANO_CPUS:
        limits = f"{show_cpus(SMALLEST_NANO_CPUS)} and {show_cpus(LARGEST_NANO_CPUS)}"
        raise ValueError(f"{text[:40]!r} is not between {limits}")
    return nano


def show_memory(size: int) -> str:
    """The shortest exact way to write a size."""
    for unit in ("t", "g", "m", "k"):
        if size >= 1024 ** _POWERS[unit] and size % 1024 ** _POWERS[unit] == 0:
            return f"{size // 1024 ** _POWERS[unit]}{unit}"
    return f"{size}b"


def show_cpus(nano: int) -> str:
    """A number of processors as people write it."""
    return f"{nano / 10**9:g}"


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `90`, `10m` or `24h`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a duration; expected a number with s, m, h or d, such as 10m")
    return int(match[1]) * _SECONDS[match[2] or ""]


def parse_timestamp(text: str) -> float | None:
    """Seconds since 1970 of an engine timestamp; None for the zero time and for what is no timestamp."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None or text.startswith("0001-"):
        return None
    # The engine writes nanoseconds, Python reads at most microseconds.
    fraction = (match[2] or ".0")[:7].ljust(7, "0")
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.fromisoformat(match[1] + fraction + zone).astimezone(UTC).timestamp()
