"""What can go wrong, on one page.

MaterializerError
├─ SettingsInvalid        a flag, variable or file is unusable       cli: exit 2
├─ AlreadyRunning         another instance holds the directory       cli: exit 3
├─ SignInNeeded           no token, or one that was refused          feed: signed_out
│                                                                    cli: exit 77
├─ FeedError
│  ├─ FeedUnreachable     no connection, or it ended                 feed: backoff
│  └─ FeedMisspoke        a message that breaks the protocol         feed: start afresh
├─ FetchError
│  ├─ FetchUnavailable    timeout, reset, 408, 425, 429, 5xx         pipeline: try later
│  ├─ LinkGone            401, 403, 404, 410 on a signed link        pipeline: wait for
│  │                                                                 a newer link
│  ├─ OutputRefused       scheme, host or size that is not allowed   pipeline: final
│  └─ OutputDamaged       cut short, wrong digest, an error page     pipeline: 4 times
├─ OutputHeld             another program is writing the file        delivery: wait
├─ DiskTrouble            full, read-only or failing                 pipeline: pause
├─ GalleryUnusable        newer schema, or damaged                   cli: exit 2
├─ GatewayError           the gateway said no                        cli: exit 1
├─ PeerMisspoke           a line that is no request                  ipc: error, close
├─ RpcError               a local request is refused (ipc.jsonlines) ipc: an answer
│                                                                    cli: exit 1
└─ DaemonUnreachable      no daemon answers                          cli: exit 1

A class exists only where somebody catches it differently. Foreign exceptions are
translated in the room that owns the library, with `raise ... from`.
"""

from __future__ import annotations


class MaterializerError(Exception):
    """Base of all errors that this program raises on purpose.

    Attributes:
        code: a stable word for machines, in snake case.
        retry_after: seconds the other side asked us to wait, where it did.

    `str(error)` is the sentence for a person. It never holds a token or more of an
    output's URL than scheme and host.
    """

    code = "error"

    def __init__(self, say: str, *, retry_after: float | None = None) -> None:
        super().__init__(say)
        self.retry_after = retry_after


class SettingsInvalid(MaterializerError):
    """A setting is unusable; the message names it and says what would be right."""

    code = "settings_invalid"


class AlreadyRunning(MaterializerError):
    """Another instance holds the state directory.

    Attributes:
        pid: of the holder, or None when it could not be read.
    """

    code = "already_running"

    def __init__(self, say: str, *, pid: int | None) -> None:
        super().__init__(say)
        self.pid = pid


class SignInNeeded(MaterializerError):
    """There is no token, or the backend refused it.

    Attributes:
        action: what the backend says the person should do, word for word.
    """

    code = "auth_required"

    def __init__(self, say: str, *, action: str | None = None) -> None:
        super().__init__(say)
        self.action = action


class FeedError(MaterializerError):
    """The feed's connection cannot go on."""

    code = "feed"


class FeedUnreachable(FeedError):
    """No connection could be made, or the one there was has ended."""

    code = "feed_unreachable"


class FeedMisspoke(FeedError):
    """The server sent something that the sync protocol does not allow."""

    code = "feed_misspoke"


class FetchError(MaterializerError):
    """One output could not be had this time."""

    code = "fetch"


class FetchUnavailable(FetchError):
    """The source may answer later: timeout, reset, 408, 425, 429 or 5xx."""

    code = "unavailable"


class LinkGone(FetchError):
    """The link is no longer good (401, 403, 404, 410); a newer one may be."""

    code = "link_gone"


class OutputRefused(FetchError):
    """The source is not allowed: its scheme, its host, its size. Final."""

    code = "refused"


class OutputDamaged(FetchError):
    """What arrived is not whole, or not what was announced."""

    code = "damaged"


class OutputHeld(MaterializerError):
    """Another program is writing the file that an output may be."""

    code = "held"


class DiskTrouble(MaterializerError):
    """The state directory cannot take a file: full, read-only, failing."""

    code = "disk"


class GalleryUnusable(MaterializerError):
    """The database is newer than this program, or cannot be read."""

    code = "gallery_unusable"


class GatewayError(MaterializerError):
    """The media gateway refused a request.

    Attributes:
        status: its HTTP status, or None when there was no answer.
        action: what the person should do, where that is known.
    """

    code = "gateway"

    def __init__(
        self,
        say: str,
        *,
        status: int | None = None,
        action: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(say, retry_after=retry_after)
        self.status = status
        self.action = action


class PeerMisspoke(MaterializerError):
    """A local client sent a line that is no request.

    Attributes:
        rpc_code: the JSON-RPC error code to answer with.
        fatal: whether framing is lost, so that the connection must end.
    """

    code = "peer_misspoke"

    def __init__(self, say: str, *, rpc_code: int, fatal: bool = False) -> None:
        super().__init__(say)
        self.rpc_code = rpc_code
        self.fatal = fatal


class DaemonUnreachable(MaterializerError):
    """No daemon answers for this state directory."""

    code = "daemon_unreachable"
