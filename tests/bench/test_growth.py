"""`bench growth`, in short: that it runs, and how its figures are judged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benched import bench
from need import need
from scripts.benchmarks import growth
from scripts.benchmarks.growth_stand import Growth

if sys.platform != "linux":
    pytest.skip("this benchmark runs on Linux", allow_module_level=True)


def test_time_and_memory_are_looked_at_with_ten_times_as_much(tmp_path: Path) -> None:
    need("nginx", "openssl", "node", "npm")
    text, data = bench("growth", tmp_path)
    found = data["growth"]
    allowed = {(each["what"], each["measure"]): each["most"] for each in found}
    assert allowed == {
        ("jobs", "seconds"): 11,
        ("jobs", "peak RSS MiB"): 11,
        ("bytes", "seconds"): 11,
        ("bytes", "peak RSS MiB"): 1.3,
        ("gallery", "latency ms"): 1.3,
        ("gallery", "RSS MiB"): 1.3,
        ("clients", "last is told, ms"): 11,
        ("clients", "RSS MiB"): 11,
    }
    for each in found:
        assert min(*each["little"], *each["much"]) > 0
        looks = 3 if each["measure"] in {"latency ms", "last is told, ms"} else 1
        assert len(each["little"]) == len(each["much"]) == looks
    assert "\n| 3 jobs | seconds | " in text


def test_growth_is_judged_by_the_medians() -> None:
    flat = Growth("gallery", "latency ms", [1.0, 2.0, 9.0], [2.4, 2.6, 90.0], 1.3)
    steep = Growth("jobs", "seconds", [1.0], [11.1], 11)

    assert growth.shortfall([flat]) is None
    assert growth.shortfall([flat, steep]) == (
        "seconds with ten times the jobs is 11.1 of with a tenth, and 11 is allowed"
    )
    assert growth.markdown(growth.LONG, [flat, steep]).splitlines()[-2:] == [
        "| a gallery of 10,000 | latency ms | 2 | 2.6 | 1.3 | ≤ 1.3 | met |",
        "| 300 jobs | seconds | 1 | 11.1 | 11.1 | ≤ 11 | NOT MET |",
    ]
