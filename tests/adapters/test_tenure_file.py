"""What a restarting agent leaves to the next process, on a real disk."""

from pathlib import Path

import pytest

from haagent.adapters import tenure_file
from haagent.core.actions import Tenure
from haagent.core.identity import Term, group_id
from haagent.core.units import MonoNs

WEB = Tenure(group=group_id("web"), term=Term(7), until=MonoNs(1000), chosen=99)
MAIL = Tenure(group=group_id("mail"), term=Term(3), until=MonoNs(2000))


def test_what_is_left_is_taken_once(tmp_path: Path) -> None:
    tenure_file.write(tmp_path, "digest", [WEB, MAIL])

    assert tenure_file.read(tmp_path, "digest", MonoNs(0)) == [WEB, MAIL]
    assert tenure_file.take(tmp_path, "digest", MonoNs(0)) == [WEB, MAIL]
    assert tenure_file.take(tmp_path, "digest", MonoNs(0)) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_over_is_not_taken(tmp_path: Path) -> None:
    tenure_file.write(tmp_path, "digest", [WEB, MAIL])

    assert tenure_file.take(tmp_path, "digest", WEB.until) == [MAIL]


def test_it_holds_for_the_same_configuration_only_and_is_taken_away_all_the_same(
    tmp_path: Path,
) -> None:
    tenure_file.write(tmp_path, "digest", [WEB])

    assert tenure_file.take(tmp_path, "another", MonoNs(0)) == []
    assert tenure_file.take(tmp_path, "digest", MonoNs(0)) == []


def test_it_holds_for_this_boot_of_the_machine_only(tmp_path: Path) -> None:
    tenure_file.write(tmp_path, "digest", [WEB])
    (file,) = tmp_path.iterdir()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    file.write_text(file.read_text().replace(boot, boot[::-1]))

    assert tenure_file.read(tmp_path, "digest", MonoNs(0)) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"machine_boot": 1}', b"[" * 100_000]
)
def test_a_spoilt_file_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    tenure_file.write(tmp_path, "digest", [WEB])
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)

    assert tenure_file.take(tmp_path, "digest", MonoNs(0)) == []


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        tenure_file.write(tmp_path / "missing", "digest", [WEB])
