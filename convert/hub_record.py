"""What the hub says of a model: the commit of a revision, and size and hash of each file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from huggingface_hub import HfApi, constants, errors
from huggingface_hub.hf_api import RepoSibling

from convert.checkpoint import needed_files
from duplex_local.errors import ModelFileError

__all__ = ["HubFile", "ask_hub"]

# They become names of files and folders here, so they are checked.
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file as the hub records it."""

    name: str
    size_bytes: int
    digest: str  # sha256 of an LFS file, git's sha1 of any other; its name in the cache


def ask_hub(api: HfApi, hub_id: str, revision: str) -> tuple[str, list[HubFile]]:
    """The commit that `revision` stands for, and the files of it that a conversion reads.

    Raises:
        ModelFileError: when a needed file is not there, or the answer is not a hub's.
        HUB_ERRORS: of `hub_errors`, when there is no answer or a refusal.
    """
    timeout_s = constants.HF_HUB_ETAG_TIMEOUT
    try:
        info = api.model_info(hub_id, revision=revision, files_metadata=True, timeout=timeout_s)
        if not info.sha or not _COMMIT.fullmatch(info.sha):
            raise ValueError("no commit")
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
        return info.sha, [_record(siblings[name]) for name in needed_files(siblings, hub_id)]
    except (errors.HFValidationError, UnicodeEncodeError):  # the user's words, not the hub's
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, errors.HfHubHTTPError):  # BadRequestError is a ValueError too
            raise
        raise ModelFileError(
            f"What {api.endpoint} says about {hub_id} makes no sense. Check that no login page or "
            "proxy answers in the hub's place, and HF_ENDPOINT if it is set."
        ) from None


def _record(sibling: RepoSibling) -> HubFile:
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    size_bytes = sibling.lfs.size if sibling.lfs else sibling.size
    if not isinstance(size_bytes, int) or size_bytes < 0:
        raise ValueError("no size")
    if not digest or not _DIGEST.fullmatch(digest):
        raise ValueError("no hash")
    return HubFile(sibling.rfilename, size_bytes, digest)
