"""Messages without passwords: databases and HTTP libraries print connection strings and addresses in their errors."""

import re

_PASSWORD = re.compile(r"(?i)(password|passwd|pwd)(\s*[=:]\s*|\s+(?=['\"]))('[^']*'|\"[^\"]*\"|[^\s'\";,)]+)")
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]+(@)")


def redact(text: str, *secrets: str) -> str:
    """`text` without the given secrets, and without what looks like a password in a connection string or address."""
    for value in secrets:
        if value:
            text = text.replace(value, "***")
    return _URL_PASSWORD.sub(r"\1***\2", _PASSWORD.sub(r"\1\2***", text))
