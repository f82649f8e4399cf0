"""Who looks after a job: the running daemon, else this command under the same lock."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from materializer.cli.sign_in import SignIn
from materializer.errors import DaemonUnreachable, MaterializerError, SignInNeeded
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_SIGNED_IN, RpcError
from materializer.model import Job

_SAVE_TIMEOUT = 240.0
_ENTER_TIMEOUT = 10.0


async def enter(sign_in: SignIn, job_id: str) -> None:
    """Return when the ledger knows a job that was submitted.

    The feed is then asked for it by its id until it has ended, by the daemon that runs
    or by the next one.

    Raises:
        MaterializerError: nobody could enter it.
    """
    params = {"jobId": job_id}
    try:
        async with Client(sign_in.settings.state_dir) as daemon:
            with suppress(TimeoutError):  # to be entered is all that it must be now
                await daemon.call("job.materialize", params, timeout=0)
            await daemon.call("job.get", params, _ENTER_TIMEOUT)
    except TimeoutError as error:
        raise MaterializerError("the daemon does not answer") from error
    except DaemonUnreachable:
        from materializer import errand

        await errand.expect(sign_in.settings, sign_in.account, job_id)


async def save(sign_in: SignIn, job: Job) -> dict[str, Any]:
    """Have an ended job materialized; return its state, error and outputs.

    Raises:
        MaterializerError: nobody could do it.
    """
    params = {"jobId": job.job_id}
    try:
        async with Client(sign_in.settings.state_dir) as daemon:
            record: dict[str, Any] = await daemon.call(
                "job.materialize", params, _SAVE_TIMEOUT
            )
            return record
    except DaemonUnreachable:
        return await _save_here(sign_in, job)
    except TimeoutError as error:
        raise MaterializerError(
            "The daemon has not saved it yet; `stella-materializer status` says why."
        ) from error
    except RpcError as error:
        if error.rpc_code == NOT_SIGNED_IN:
            raise SignInNeeded(
                "The running daemon is not signed in to Stella."
            ) from error
        raise


async def _save_here(sign_in: SignIn, job: Job) -> dict[str, Any]:
    from materializer import errand

    record = await errand.save(sign_in.settings, sign_in.account, job)
    return {
        "state": record.state,
        "error": record.error,
        "outputs": [item.wire() for item in record.items],
    }
