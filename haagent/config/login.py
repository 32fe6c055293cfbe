"""Who may steer the agent over HTTP, and what keeps him from it here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haagent.config import values
from haagent.config.document import Document
from haagent.config.key import KeyFileError
from haagent.config.model import HttpSection
from haagent.config.password import check_password_file
from haagent.config.problems import Problem


@dataclass(frozen=True, slots=True)
class Login:
    """Who may."""

    user: str
    password_file: Path


def login(section: HttpSection | None, home: Path) -> Login | None:
    """Return who may; None where nobody may."""
    if section is None or section.login is None:
        return None
    return Login(section.login.user, home / section.login.password_file)


def login_lacking(document: Document, home: Path) -> Iterator[Problem]:
    """Yield what keeps everybody from logging in here."""
    for place, name in document.select("http.login.password_file", values.path):
        try:
            check_password_file(home / name)
        except KeyFileError as error:
            yield document.at_value(place, str(error))
