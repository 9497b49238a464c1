"""What went wrong between us and the hub, in one line that says what to do."""

from __future__ import annotations

import re

from huggingface_hub import constants, errors

__all__ = ["HUB_ERRORS", "explain", "is_offline"]

# The base of all that httpx raises, which the library re-exports: by its version it uses httpx
# or httpx2. OSError is the disk's, or the network's; ValueError a name that cannot be.
_HTTPError: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
HUB_ERRORS = (_HTTPError, OSError, ValueError)

_KEPT = "run the same command again; what has arrived is kept"
_TOKEN = "set HF_TOKEN to a token from https://huggingface.co/settings/tokens"


def is_offline(error: BaseException | None) -> bool:
    """Whether nothing was reached: no network, or none is wanted."""
    if isinstance(error, errors.LocalEntryNotFoundError):
        return is_offline(error.__cause__)
    if isinstance(error, errors.HfHubHTTPError):  # an answer
        return False
    return isinstance(error, (errors.OfflineModeIsEnabled, _HTTPError))


def explain(error: BaseException, hub_id: str, revision: str) -> str:
    """The line for one of HUB_ERRORS, raised while `hub_id` was downloaded."""
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_answer(error, hub_id, revision)
    if isinstance(error, errors.HFValidationError):
        return (
            f"There is no folder {hub_id}, and it cannot be a hub id. Give a folder or owner/name."
        )
    if isinstance(error, UnicodeEncodeError):  # nothing else goes into a request's headers
        return f"HF_TOKEN holds a character that no token has. Unset it, or {_TOKEN}."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return (
            f"HF_HUB_OFFLINE is set, and {hub_id} at {revision} is not complete in "
            f"{constants.HF_HUB_CACHE}. Unset it, or give a folder with the checkpoint."
        )
    if is_offline(error):
        return (
            f"The connection to {constants.ENDPOINT} failed ({_reason(error)}), and {hub_id} at "
            f"{revision} is not complete on this machine. Check the network and {_KEPT}."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"Cannot write to {constants.HF_HUB_CACHE}: {error.strerror}. Free some space there, "
            f"or set HF_HOME to another folder, and {_KEPT}."
        )
    return f"The download of {hub_id} failed ({_reason(error)}). Check the network and {_KEPT}."


def _explain_answer(error: errors.HfHubHTTPError, hub_id: str, revision: str) -> str:
    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{hub_id} is gated. Ask for access on https://huggingface.co/{hub_id}, then {_TOKEN}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"There is no folder {hub_id}, and the hub has no public model of that name. Check the "
            f"name; for a private model {_TOKEN}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{hub_id} has no revision {revision}. Give a branch, tag or commit with --revision."
    if status == 401:
        return f"The hub does not accept your token. Unset HF_TOKEN, or {_TOKEN}."
    if status == 403:
        why = error.server_message or "no reason given"
        return f"The hub forbids access to {hub_id} ({why}). If it is private, {_TOKEN}."
    if status == 429:
        return (
            f"The hub wants fewer requests (429{_wait(error)}). Wait, then {_KEPT}. With a token "
            f"the limit is higher: {_TOKEN}."
        )
    return f"The hub answered {status} for {hub_id}. Wait a little, then {_KEPT}."


def _wait(error: errors.HfHubHTTPError) -> str:
    """What the answer says about how long: a number of seconds, or nothing."""
    headers = error.response.headers
    seconds = re.search(r"\bt=(\d+)", headers.get("ratelimit", "")) or re.fullmatch(
        r"(\d+)", headers.get("retry-after", "")
    )
    return f"; retry after {seconds[1]} s" if seconds else ""


def _reason(error: BaseException) -> str:
    """The first line: the others are advice for programmers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
