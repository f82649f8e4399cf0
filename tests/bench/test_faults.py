"""The faults: ours withstands each, curl does not, and the conditions can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from need import need, need_package
from scripts.benchmarks import fault_report, fault_tools, faults, verdicts
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.fault_tools import Tool
from scripts.benchmarks.faults import FAULTS, SHORT, Fault, Result
from scripts.benchmarks.trial import Plan, can_mount
from scripts.benchmarks.verdicts import End, Verdict

ROOT = Path(__file__).resolve().parents[2]
NAMES = [fault.name for fault in FAULTS]
HERE = [fault for fault in FAULTS if can_mount() or not faults.needs_root(fault)]

# Ours tries these again and again, so somebody must tell it that it is enough.
ENDLESS = {name for name in NAMES if name.startswith(("cut", "a page", "disk", "gzip"))}

DELIVERED = End(0, "whole")
GAVE_UP = End(1, "nothing")


pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no process groups to kill"
)


def by_name(fault: Fault) -> str:
    return fault.name


def curl() -> Tool:
    need("curl")
    return Tool("curl -o", "", fault_tools._curl)


def plan_of(fault: Fault) -> Plan:
    return replace(SHORT, patience=3.0 if fault.name in ENDLESS else 20.0)


@pytest.mark.parametrize("fault", HERE, ids=by_name)
async def test_ours_withstands(fault: Fault) -> None:
    found = await faults.verdict(plan_of(fault), fault, fault_tools.ours())

    assert found is not None
    assert found.passed, found.detail


@pytest.mark.parametrize(
    "fault",
    [
        fault
        for fault in HERE
        if not fault.name.startswith(("content", "gzip", "two at once"))
    ],
    ids=by_name,
)
async def test_a_tool_that_looks_at_nothing_does_not_withstand(fault: Fault) -> None:
    found = await faults.verdict(plan_of(fault), fault, curl())

    assert found is not None
    assert not found.passed, found.detail


async def test_a_tool_that_resumes_without_a_look_mixes_contents() -> None:
    need("curl")
    resuming = Tool("curl -C -", "", fault_tools._curl_resuming)
    [fault] = [fault for fault in FAULTS if fault.name.startswith("content changed")]

    found = await faults.verdict(SHORT, fault, resuming)

    assert found == Verdict(passed=False, detail="mixed, exit 0")


async def test_a_tool_that_decodes_expands_the_bomb() -> None:
    decoding = Tool("httpx + aiofiles", "", fault_tools._httpx)
    [fault] = [fault for fault in FAULTS if fault.name == "gzip bomb"]

    found = await faults.verdict(replace(SHORT, patience=20.0), fault, decoding)

    assert found is not None
    assert not found.passed


async def test_a_tool_that_never_asks_proves_nothing() -> None:
    idle = Tool("true", "", lambda _url, _folder, _notes: ("true",))

    with pytest.raises(BenchmarkFailed, match="true never asked"):
        await faults.verdict(SHORT, FAULTS[3], idle)


BAD = {
    "a part after a kill": verdicts.after_kills(["nothing", "wrong"], DELIVERED),
    "a file before its end": verdicts.after_kills(["whole"], DELIVERED),
    "killed for good": verdicts.after_kills(["nothing"], GAVE_UP),
    "old and new": verdicts.unmixed(End(0, "wrong")),
    "neither old nor new": verdicts.unmixed(GAVE_UP),
    "too much again": verdicts.resumed(DELIVERED, sent=61, size=100),
    "little, but no file": verdicts.resumed(GAVE_UP, sent=0, size=100),
    "little, but wrong": verdicts.resumed(End(0, "wrong"), sent=50, size=100),
    "claims success": verdicts.noticed(End(0, "nothing")),
    "leaves what is wrong": verdicts.noticed(End(1, "wrong")),
    "a wonder": verdicts.noticed(DELIVERED),
    "outgrown": verdicts.contained(101, limit=100),
    "asked, and gave up": verdicts.kept_out(GAVE_UP, asked=1),
    "from nowhere": verdicts.kept_out(DELIVERED, asked=0),
    "too soon": verdicts.patient(DELIVERED, [1.9]),
    "too soon the second time": verdicts.patient(DELIVERED, [2.0, 1.0]),
    "without having waited": verdicts.patient(DELIVERED, []),
    "waited for nothing": verdicts.patient(GAVE_UP, [2.0]),
    "two, and no file": verdicts.undisturbed("nothing", sent=100, size=100),
    "two in one file": verdicts.undisturbed("wrong", sent=100, size=100),
}
GOOD = {
    "killed often": verdicts.after_kills(["nothing", "nothing"], DELIVERED),
    "new": verdicts.unmixed(DELIVERED),
    "little again": verdicts.resumed(DELIVERED, sent=60, size=100),
    "says so": verdicts.noticed(GAVE_UP),
    "says nothing yet": verdicts.noticed(End(None, "nothing")),
    "as small as it was": verdicts.contained(100, limit=100),
    "not asked": verdicts.kept_out(GAVE_UP, asked=0),
    "waited": verdicts.patient(DELIVERED, [2.0, 2.3]),
    "both": verdicts.undisturbed("whole", sent=200, size=100),
}


@pytest.mark.parametrize("found", BAD.values(), ids=BAD)
def test_what_does_not_pass(found: Verdict) -> None:
    assert not found.passed


@pytest.mark.parametrize("found", GOOD.values(), ids=GOOD)
def test_what_passes(found: Verdict) -> None:
    assert found.passed


def result(ours: Verdict | None, peer: Verdict | None) -> Result:
    good = Verdict(passed=True, detail="whole")
    every: dict[str, dict[str, Verdict | None]]
    every = {name: {"ours": good, "peer": good} for name in NAMES}
    every[NAMES[0]] = {"ours": ours, "peer": peer}
    return Result(SHORT, {"ours": "1", "peer": "2"}, every)


def test_the_table_has_a_row_for_each_fault_and_a_score_for_each_tool() -> None:
    bad = Verdict(passed=False, detail="2 of 2 partial")
    lines = fault_report.markdown(result(Verdict(True, "whole"), bad)).splitlines()

    for number, name in enumerate(NAMES, 1):
        assert any(line.startswith(f"| {number} {name} → ") for line in lines)
    assert any(line.endswith(" | ✔ whole | ✘ 2 of 2 partial |") for line in lines)
    assert lines[-1] == "| score | **13 of 13** | **12 of 13** |"


def test_a_fault_that_cannot_be_staged_counts_for_nobody() -> None:
    lines = fault_report.markdown(result(None, None)).splitlines()

    assert lines[-1] == "| score | **12 of 12** | **12 of 12** |"
    assert any(line.endswith("| only as root | only as root |") for line in lines)


def test_only_ours_can_fall_short() -> None:
    bad = Verdict(passed=False, detail="")

    assert fault_report.shortfall(result(Verdict(True, ""), bad)) is None
    assert fault_report.shortfall(result(None, None)) is None
    words = fault_report.shortfall(result(bad, None))
    assert words == f"ours does not withstand: {NAMES[0]}"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", "faults", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_tool_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done = bench("--short")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "bench: curl and wget and aria2c must be installed\n"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_tool_is_put_through_every_fault(tmp_path: Path) -> None:
    need("curl", "wget", "aria2c")
    need_package("gallery_dl")
    written = tmp_path / "faults.json"

    done = bench("--short", "--json", str(written))

    assert done.returncode == 0, done.stderr
    data = json.loads(written.read_text("utf-8"))
    assert [*data["verdicts"]] == NAMES
    for found in data["verdicts"].values():
        assert found.keys() == data["versions"].keys()
    score = done.stdout.splitlines()[-1].split(" | ")[1:]
    assert len(score) == len(data["versions"])
    assert score[0] == f"**{len(HERE)} of {len(HERE)}**"
