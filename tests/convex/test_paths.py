from __future__ import annotations

import pytest

from materializer.convex.paths import canonical_path


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("media_jobs:getByJobId", "media_jobs:getByJobId"),
        ("api.media_jobs.getByJobId", "media_jobs:getByJobId"),
        ("media_jobs.getByJobId", "media_jobs:getByJobId"),
        ("media_jobs.js:getByJobId", "media_jobs:getByJobId"),
        ("api.dir.sub.mod.fn", "dir/sub/mod:fn"),
        ("dir/mod:fn", "dir/mod:fn"),
        ("mod", "mod:default"),
        ("mod.js", "mod:default"),
    ],
)
def test_every_spelling_of_a_function_is_one(written: str, sent: str) -> None:
    assert canonical_path(written) == sent


@pytest.mark.parametrize("path", ["", ":", "m:", ":q", "a//b:q", "api."])
def test_a_path_with_an_empty_part_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="module:function"):
        canonical_path(path)
