"""Who looks after a job: the running daemon, else this command under the same lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from materializer.cli.sign_in import SignIn
from materializer.cli.ticker import beside
from materializer.errors import (
    AlreadyRunning,
    DaemonUnreachable,
    MaterializerError,
    SignInNeeded,
)
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_SIGNED_IN, RpcError
from materializer.model import Job

_SAVE_TIMEOUT = 240.0
_ENTER_TIMEOUT = 10.0
_CALL_TIMEOUT = 10.0
_REASON_TIMEOUT = 1.0

Record = dict[str, Any]


async def enter(sign_in: SignIn, job_id: str) -> None:
    """Return when the ledger knows a job that was submitted.

    The feed is then asked for it by its id until it has ended, by the daemon that runs
    or by the next one.

    Raises:
        MaterializerError: nobody could enter it.
    """
    try:
        async with asyncio.timeout(_ENTER_TIMEOUT):
            try:
                await _enter_there(sign_in, job_id)
            except DaemonUnreachable:
                await _enter_here(sign_in, job_id)
    except TimeoutError as error:
        raise MaterializerError(
            f"{sign_in.settings.state_dir} is busy, and nobody answers"
        ) from error


async def settled(
    sign_in: SignIn, job_id: str, timeout: float, tell: Callable[[str], None]
) -> Record | None:
    """Return what the daemon made of a job that was submitted, as soon as it has ended.

    It is told by the live feed and saves the job; its status is told as it changes.
    None means that there is no daemon, or that it can no longer tell.

    Raises:
        TimeoutError: the job has not ended within `timeout` seconds.
        MaterializerError: it has, but could not be saved in time.
    """
    try:
        async with Client(sign_in.settings.state_dir) as daemon:
            try:
                topics = {"topics": ["job"]}
                await daemon.call("events.subscribe", topics, _CALL_TIMEOUT)
            except TimeoutError:
                return None
            work = _until_settled(daemon, job_id, timeout)
            record = await beside(work, _hear(daemon, job_id, tell))
    except (DaemonUnreachable, RpcError):
        return None
    tell(record["status"])
    return record


async def save(sign_in: SignIn, job: Job) -> Record:
    """Have an ended job materialized; return its state, error and outputs.

    Raises:
        MaterializerError: nobody could do it.
    """
    try:
        return await _save_there(sign_in, job)
    except DaemonUnreachable:
        pass
    try:
        return await _save_here(sign_in, job)
    except AlreadyRunning:
        with suppress(DaemonUnreachable):  # a daemon that has started meanwhile
            return await _save_there(sign_in, job)
        raise


async def note_told(sign_in: SignIn, job: Job) -> None:
    """Note that the person was told of a failed job; else the next daemon does it."""
    with suppress(MaterializerError, TimeoutError):
        async with asyncio.timeout(_ENTER_TIMEOUT):
            await save(sign_in, job)


async def _until_settled(daemon: Client, job_id: str, timeout: float) -> Record:
    params = {"jobId": job_id}
    record: Record
    try:
        record = await daemon.call("job.materialize", params, timeout)
    except TimeoutError:
        record = await daemon.call("job.get", params, _CALL_TIMEOUT)
        if record["status"] != "succeeded":
            raise
        record = await _materialized(daemon, job_id)  # it is only being saved yet
    return record


async def _hear(daemon: Client, job_id: str, tell: Callable[[str], None]) -> None:
    begun = {"jobId": job_id, "state": "fetching"}
    async for sent in daemon.notifications():
        if sent.method == "event" and sent.params["data"] == begun:
            tell("succeeded")


async def _enter_there(sign_in: SignIn, job_id: str) -> None:
    params = {"jobId": job_id}
    async with Client(sign_in.settings.state_dir) as daemon:
        with suppress(TimeoutError):  # to be entered is all that it must be now
            await daemon.call("job.materialize", params, timeout=0)
        try:
            await daemon.call("job.get", params, _CALL_TIMEOUT)
        except RpcError:
            with suppress(TimeoutError):  # this says why it could not be entered
                await daemon.call("job.materialize", params, _REASON_TIMEOUT)


async def _enter_here(sign_in: SignIn, job_id: str) -> None:
    from materializer import errand

    try:
        await errand.expect(sign_in.settings, sign_in.account, job_id)
    except AlreadyRunning:
        with suppress(DaemonUnreachable):
            return await _enter_there(sign_in, job_id)
        raise


async def _save_there(sign_in: SignIn, job: Job) -> Record:
    try:
        async with Client(sign_in.settings.state_dir) as daemon:
            return await _materialized(daemon, job.job_id)
    except RpcError as error:
        if error.rpc_code == NOT_SIGNED_IN:
            raise SignInNeeded(
                "The running daemon is not signed in to Stella."
            ) from error
        raise


async def _materialized(daemon: Client, job_id: str) -> Record:
    params = {"jobId": job_id}
    try:
        record: Record = await daemon.call("job.materialize", params, _SAVE_TIMEOUT)
    except TimeoutError as error:
        raise MaterializerError(
            "The daemon has not saved it yet; `stella-materializer status` says why."
        ) from error
    return record


async def _save_here(sign_in: SignIn, job: Job) -> Record:
    from materializer import errand

    record = await errand.save(sign_in.settings, sign_in.account, job)
    return {
        "state": record.state,
        "error": record.error,
        "outputs": [item.wire() for item in record.items],
    }
