"""`stella-materializer dev --rule`: the hosted gateway's rules, from outside."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from process.house import MATERIALIZER, SOON, ended, environment, started

JOB, GENERATE = "/api/media/v1/job", "/api/media/v1/generate"
SLOW = {"capability": "icon", "prompt": "[slow:60]"}


async def test_every_rule_that_is_named_holds(tmp_path: Path) -> None:
    rules = "--rule", "rate-limit", "--rule", "first-words"
    command = *MATERIALIZER, "dev", *rules
    async with started(tmp_path, environment(tmp_path), *command) as process:
        ready = json.loads(await process.line())
        headers = {"Authorization": f"Bearer {ready['token']}"}
        site = ready["siteUrl"]
        async with httpx.AsyncClient(base_url=site, headers=headers) as http:
            job = {"jobId": (await http.post(GENERATE, json=SLOW)).json()["jobId"]}
            status = ""
            async with asyncio.timeout(SOON):
                while status != "in_progress":
                    status = (await http.get(JOB, params=job)).json()["status"]
            answers = [await http.post(GENERATE, json={}) for _ in range(20)]
    assert [answer.status_code for answer in answers] == [400] * 19 + [429]


async def test_a_plan_can_be_wanting(tmp_path: Path) -> None:
    command = *MATERIALIZER, "dev", "--rule", "paid-plan"
    async with started(tmp_path, environment(tmp_path), *command) as process:
        ready = json.loads(await process.line())
        headers = {"Authorization": f"Bearer {ready['token']}"}
        async with httpx.AsyncClient(base_url=ready["siteUrl"]) as http:
            answer = await http.post(GENERATE, json=SLOW, headers=headers)
    assert answer.status_code == 402


async def test_an_unknown_rule_is_a_wrong_use(tmp_path: Path) -> None:
    command = *MATERIALIZER, "dev", "--rule", "kindness"
    end = await ended(tmp_path, environment(tmp_path), *command)
    assert end.code == 2
    assert "first-words" in end.err
