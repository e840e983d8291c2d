"""What a code server loads in place of definitions whose tables are not what they need (see `start`).

Loading fails with the reason, so webserver, daemon and `./stack up` tell it, and the other locations go on.
"""

from platform_kit.migrations import MigrationError
from platform_kit.migrations.starting import read_reason

raise MigrationError(read_reason())
