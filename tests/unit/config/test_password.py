"""The password file of ``http.login``, and the login of a file."""

from pathlib import Path

import pytest

from haagent.config import KeyFileError, load
from haagent.config.login import Login
from haagent.config.password import is_password, password_line

PASSWORD = "correct horse battery"
CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "http.password"
    file.touch(mode=0o600)
    file.write_text(password_line(PASSWORD))
    return file


def test_the_password_of_the_file_and_no_other_is_right(file: Path) -> None:
    assert is_password(file, PASSWORD)
    for other in ("", PASSWORD[:-1], f"{PASSWORD} ", PASSWORD.upper(), "x" * 100_000):
        assert not is_password(file, other)


def test_the_file_tells_neither_the_password_nor_who_has_the_same() -> None:
    assert PASSWORD not in password_line(PASSWORD)
    assert password_line(PASSWORD) != password_line(PASSWORD)


@pytest.mark.parametrize("password", ["", "seven77", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="8 characters or more"):
        password_line(password)


@pytest.mark.parametrize("content", ["", PASSWORD, "haagent-password-1:QUJD", "haagent-key-1:QUJD"])
def test_what_is_no_password_file_is_refused_and_not_shown(file: Path, content: str) -> None:
    file.write_text(content)

    with pytest.raises(KeyFileError) as refusal:
        is_password(file, PASSWORD)

    assert str(refusal.value) == f"{file}: is no password file: 'haagent password' makes them"


def test_a_file_that_others_may_use_or_that_is_not_there_lets_nobody_in(file: Path) -> None:
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        is_password(file, PASSWORD)

    file.unlink()
    with pytest.raises(KeyFileError, match=r"does not exist; 'haagent password .*' makes one"):
        is_password(file, PASSWORD)


def configured(home: Path, login: str) -> Path:
    file = home / "haagent.yml"
    http = f"http: {{listen: ['127.0.0.1:7000']{login}}}\n"
    file.write_text((CONF / "pair-lb1.yml").read_text() + http)
    return file


def test_a_login_names_its_file_beside_the_configuration(file: Path) -> None:
    path = configured(file.parent, ", login: {user: ops, password_file: http.password}")

    loaded = load(path)

    assert loaded.login == Login("ops", file)
    assert not [each for each in loaded.lacking if "http.login" in str(each)]
    assert load(configured(file.parent, "")).login is None


def test_a_check_says_that_nobody_can_log_in(file: Path) -> None:
    file.unlink()
    path = configured(file.parent, ", login: {user: ops, password_file: http.password}")

    lacking = [str(each) for each in load(path).lacking]

    assert [
        text
        for text in lacking
        if "http.login.password_file" in text and "haagent password" in text
    ]
