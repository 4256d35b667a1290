"""What a storage is given as: a folder's path, or an address; and what is said of one that cannot be used."""

from __future__ import annotations

import re

from nasprune.errors import SettingsError


def is_address(given: str) -> bool:
    """Whether a storage is given as an address, such as s3://bucket/folder, and not as a folder's path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", given) is not None


_SECRET = re.compile(r"([?&][^=&]*(?:secret|password|token|account_key)[^=&]*=)[^&]*", re.IGNORECASE)
"""An option of an address that pyarrow takes a key from."""


def check_address(given: str) -> None:
    """Refuse an address that holds a password or a key: it would be kept with every point. And what means no place.

    Raises:
        SettingsError: without the password.
    """
    if not given.strip():
        raise SettingsError("storage '' given; expected a folder or an address, as runs or s3://bucket/folder")
    if given.split("/")[0] == "~":  # a shell leaves it as it is behind --storage=, and a settings file has none
        raise SettingsError(f"storage '{given}' given; expected a folder by its own name: write your home's for ~")
    if is_address(given) and (re.search(r"//[^?]*:[^?]*@", given) or _SECRET.search(given)):
        raise SettingsError(
            f"storage '{shown(given)}' given with a password in it; expected an address without, and the credentials "
            "in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def shown(given: str) -> str:
    """The storage for messages: no user, no password, no key."""
    text = _SECRET.sub(r"\1...", given)
    if text.startswith("abfs"):  # there a container stands before the @
        return re.sub(r"//([^/?:@]*):[^?]*@", r"//\1@", text)
    return re.sub(r"//[^?]*@", "//", text)


def said(error: BaseException | str) -> str:
    """One short line of a file system's message, without secrets and request numbers."""
    text = " ".join(re.sub(r"//[^/\s]*@", "//", str(error)).split())
    text = re.sub(r"^When .*?: (AWS Error )", r"\1", text)
    return re.sub(r" ?\((Request ID|request id).*", "", text)[:200]


def refusal(address: str, error: BaseException) -> str:
    """Why a storage with an address cannot be used, in one line."""
    text = said(error)
    given = f"storage '{address}' given"
    if "Unrecognized filesystem" in text:
        return f"{given}; expected a folder, or an address that pyarrow knows: s3://, gs:// or file://"
    if "NO_SUCH_BUCKET" in text or "ot found" in text:
        return f"{given}, but there is no such bucket; create it first, or mend the address"
    if any(word in text for word in ("DENIED", "ACCESS_KEY", "SIGNATURE", "FORBIDDEN", "redential", "TOKEN", "403")):
        return (
            f"{given}, but it refuses to be written ({text}); expected credentials with the right to list, read, "
            "write and delete there: in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role "
            "of the machine"
        )
    if isinstance(error, ValueError):  # of the address, which the text repeats as given
        return (
            f"{given}; expected an address such as s3://bucket/folder or "
            "s3://bucket/folder?endpoint_override=HOST:PORT&scheme=http"
        )
    return f"{given}, but it cannot be written ({text}); mend the address or the connection"
