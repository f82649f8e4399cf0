r"""Orders one picture for each line of stdin, all at once, and saves them as they come.

    printf '%s\n' 'a red fox' 'a blue fox' | python examples/variations.py pictures/

Needs httpx; STELLA_API and STELLA_TOKEN say where, and who asks.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 240.0
ENDED = {"succeeded", "failed", "canceled", "cancelled", "unknown"}


async def run(gateway: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """Order a job and return its row at the end."""
    # Sent again with the same key, it is still one job.
    key = {"Idempotency-Key": str(uuid.uuid4())}
    accepted = await gateway.post("generate", json=request, headers=key)
    where = {"jobId": accepted.raise_for_status().json()["jobId"]}
    while True:
        answer = await gateway.get("job", params=where)
        row: dict[str, Any] = answer.raise_for_status().json()
        if row["status"] in ENDED:
            return row
        await asyncio.sleep(1)


async def picture(gateway: httpx.AsyncClient, prompt: str, folder: Path) -> None:
    """Have a picture made; print its path, or why there is none."""
    row = await run(gateway, {"capability": "text_to_image", "prompt": prompt})
    if row["status"] != "succeeded":
        why = row.get("error", {}).get("message", row["status"])
        print(f"{prompt}: {why}")
        return
    async with httpx.AsyncClient() as storage:  # which must not see the token
        answer = await storage.get(row["output"]["images"][0]["url"])
    path = folder / f"{row['jobId']}.png"
    path.write_bytes(answer.raise_for_status().content)
    print(path)


async def main(folder: Path, prompts: list[str]) -> None:
    """Print a line for each prompt, as soon as it is there."""
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(
            base_url=f"{os.environ['STELLA_API']}/api/media/v1/",
            headers={"Authorization": f"Bearer {os.environ['STELLA_TOKEN']}"},
        ) as gateway,
        asyncio.TaskGroup() as tasks,
    ):
        for prompt in prompts:
            tasks.create_task(picture(gateway, prompt, folder))


if __name__ == "__main__":
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(into, [line.strip() for line in sys.stdin if line.strip()]))
