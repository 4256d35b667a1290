"""What a storage is given as: no password or key is kept or shown, and no two places pass for one."""

from __future__ import annotations

import pytest

from nasprune.errors import SettingsError
from sweep.commandline import parse_settings
from sweep.storage.address import check_address, shown


@pytest.mark.parametrize(
    "given", ["s3://key:secret@bucket/x", "s3://key:sec/ret@bucket/x", "s3://k:secret@b?scheme=http"]
)
def test_a_password_in_an_address_is_refused_and_never_shown(given):
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID") as caught:
        parse_settings(["--storage", given])
    assert "ret" not in str(caught.value).replace("SECRET", "")
    assert "key" not in shown(given)


def test_two_containers_of_an_account_are_two_places():
    assert shown("abfs://team-a@account/x") != shown("abfs://team-b@account/x")
    assert shown("abfs://team:secret@account/x?account_key=hush&x=1") == "abfs://team@account/x?account_key=...&x=1"


def test_what_is_no_secret_is_taken():
    check_address("runs/a:b@c")
    check_address("gs://anonymous@bucket/x")  # a name
