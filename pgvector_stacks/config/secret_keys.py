"""The secret keys of a stack. Each is generated once and kept in the state, unless `pulumi config` sets it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

NO_KEY_SERVICE = ("", "default", "passphrase")  # as `secretsprovider` of a stack file: none encrypts the state


def _one_line(value: SecretStr | None) -> SecretStr | None:
    if value is not None and (not value.get_secret_value() or set(value.get_secret_value()) & {"\n", "\r", "\0"}):
        raise ValueError("a password is one line and not empty")
    return value


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{24,128}", value.get_secret_value()):
        raise ValueError("24 to 128 letters, digits, _ and -, as `pgstack backup key STACK` prints it")
    return value


Password = Annotated[SecretStr | None, AfterValidator(_one_line)]
BackupKey = Annotated[SecretStr | None, AfterValidator(_one_line), AfterValidator(_long_enough)]


class SecretKeys(BaseModel):
    """The passwords of the roles that log in, and the key for backups."""

    admin_password: Password = Field(default=None, description="Secret; generated once where it is not set.")
    app_password: Password = Field(default=None, description="Secret; generated once where it is not set.")
    readonly_password: Password = Field(default=None, description="Secret; generated once where it is not set.")
    backup_key: BackupKey = Field(
        default=None,
        description="Secret; signs backups, encrypts copies. Generated once where it is not set; `down` forgets it.",
    )
