import json
import os
from pathlib import Path

import pytest

from materializer.errors import DaemonUnreachable, SettingsInvalid
from materializer.ipc import endpoint
from materializer.ipc.endpoint import Endpoint, discover, endpoint_file

TOLD = Endpoint("/run/x.sock", 7, "1.0", 1_700_000_000_000, transport="unix")


def test_what_is_published_is_discovered(tmp_path: Path) -> None:
    endpoint.publish(tmp_path, TOLD)
    assert discover(endpoint_file(tmp_path)) == TOLD
    later = Endpoint("/run/y.sock", 8, "1.1", 1_700_000_000_001, transport="unix")
    endpoint.publish(tmp_path, later)
    assert discover(endpoint_file(tmp_path)) == later
    endpoint.withdraw(tmp_path)
    endpoint.withdraw(tmp_path)
    assert list(endpoint_file(tmp_path).parent.iterdir()) == []


def test_without_an_endpoint_there_is_no_daemon_and_words_say_what_to_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(DaemonUnreachable, match="start it with"):
        discover(endpoint_file(tmp_path))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_endpoint_that_others_can_write_is_not_trusted(
    tmp_path: Path, mode: int
) -> None:
    endpoint.publish(tmp_path, TOLD)
    endpoint_file(tmp_path).chmod(mode)
    with pytest.raises(DaemonUnreachable, match="not trusted"):
        discover(endpoint_file(tmp_path))


def test_an_endpoint_that_is_a_link_is_not_trusted(tmp_path: Path) -> None:
    endpoint.publish(tmp_path, TOLD)
    link = tmp_path / "endpoint.json"
    link.symlink_to(endpoint_file(tmp_path))
    with pytest.raises(DaemonUnreachable, match="not trusted"):
        discover(link)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can pose")
def test_an_endpoint_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    endpoint.publish(tmp_path, TOLD)
    os.chown(endpoint_file(tmp_path), 65534, 65534)
    with pytest.raises(DaemonUnreachable, match="not trusted"):
        discover(endpoint_file(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 1}', "\xff"])
def test_an_endpoint_that_makes_no_sense_is_no_daemon(
    tmp_path: Path, text: str
) -> None:
    endpoint.publish(tmp_path, TOLD)
    endpoint_file(tmp_path).write_text(text, encoding="latin-1")
    with pytest.raises(DaemonUnreachable, match="cannot be read"):
        discover(endpoint_file(tmp_path))


def test_a_daemon_of_another_protocol_is_not_talked_to(tmp_path: Path) -> None:
    other = Endpoint("/run/x.sock", 7, "9.0", 0, transport="unix", protocol=2)
    endpoint.publish(tmp_path, other)
    with pytest.raises(DaemonUnreachable, match=r"version 9\.0, speaks protocol 2"):
        discover(endpoint_file(tmp_path))


def test_the_endpoint_on_the_wire_is_the_contract_s() -> None:
    assert json.loads(json.dumps(TOLD.wire())) == {
        "protocol": 1,
        "transport": "unix",
        "path": "/run/x.sock",
        "pid": 7,
        "version": "1.0",
        "startedAt": 1_700_000_000_000,
    }


def test_a_directory_that_cannot_be_made_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(SettingsInvalid, match="cannot be made"):
            endpoint.publish(path, Endpoint("socket", 1, "1", 0))
