"""What a processor hour and a gigabyte hour cost, and what a usage therefore cost."""

import math
import re
from dataclasses import dataclass

from platform_kit.costs.meter import Usage
from platform_kit.environment import SettingError, setting

# List price of Google's e2 machines in us-central1, on demand: an ordinary VM, priced by processor and memory.
_VCPU_HOUR, _GB_HOUR, _CURRENCY = "0.0218", "0.0029", "USD"
GB = 2**30  # as clouds bill it


@dataclass(frozen=True)
class Prices:
    """Money for an hour of one processor and of 2³⁰ bytes of memory, and in which currency."""

    vcpu_hour: float
    gb_hour: float
    currency: str

    def amount(self, used: Usage, peak_memory: int) -> float:
        """The money: processor time as used, memory as the peak for the whole wall time."""
        return used.cpu / 3600 * self.vcpu_hour + peak_memory / GB * used.wall / 3600 * self.gb_hour


def from_settings() -> Prices:
    """PRICE_PER_VCPU_HOUR, PRICE_PER_GB_HOUR and PRICE_CURRENCY. Raises SettingError when one is not legal."""
    currency = setting("PRICE_CURRENCY", _CURRENCY)
    if not re.fullmatch("[A-Z]{3}", currency):
        raise SettingError(f"PRICE_CURRENCY is {currency!r}: expected three capital letters, as in {_CURRENCY}")
    return Prices(_price("PRICE_PER_VCPU_HOUR", _VCPU_HOUR), _price("PRICE_PER_GB_HOUR", _GB_HOUR), currency)


def _price(name: str, default: str) -> float:
    text = setting(name, default)
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise SettingError(f"{name} is {text!r}: expected an amount of money such as {default}")
    return price
