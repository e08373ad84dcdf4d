"""What fails, as exceptions: one class for each code of the status table (docs/reference/options.md), which also is the
fitting built-in one.

    except ckpt_engine.errors.CkptError as error:
        error.code     "unavailable": tells what to do next
        error.stage    "load", "gather", "hand-over", …; "" where there is none
        error.rank     the rank that failed, or None
        error.advice   what to do about it, or ""
        str(error)     all of it, as a person reads it
"""

from __future__ import annotations

from typing import ClassVar, Dict, List, Optional, Tuple, Type


class CkptError(Exception):
    """Base of all. `str()` gives code, rank, stage, what was tried, the cause and the advice; `message` is what was
    tried and the cause alone."""

    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, stage: str = "", rank: Optional[int] = None, advice: str = "", text: str = ""
    ) -> None:
        super().__init__(text or _text(self.code, message, stage, rank, advice))
        self.message = message
        self.stage = stage
        self.rank = rank
        self.advice = advice

    def __reduce__(self) -> Tuple[object, ...]:
        return (_restored, (type(self), self.message, self.stage, self.rank, self.advice, str(self)))


def _text(code: str, message: str, stage: str, rank: Optional[int], advice: str) -> str:
    places: List[str] = [f"rank {rank}"] if rank is not None else []
    places += [stage] if stage else []
    where = f"{', '.join(places)}: " if places else ""
    return f"{code}: {where}{message}" + (f" ({advice})" if advice else "")


def _restored(
    kind: Type[CkptError], message: str, stage: str, rank: Optional[int], advice: str, text: str
) -> CkptError:
    return kind(message, stage=stage, rank=rank, advice=advice, text=text)


class InternalError(CkptError, RuntimeError):
    """A bug of the library's."""

    code = "internal"


class InvalidArgumentError(CkptError, ValueError):
    """The input is wrong, whatever the state."""

    code = "invalid_argument"


class NotFoundError(CkptError, LookupError):
    """A name or a file that is not there."""

    code = "not_found"


class AlreadyExistsError(CkptError, ValueError):
    """A name that is taken; what has it is untouched."""

    code = "already_exists"


class FailedPreconditionError(CkptError, RuntimeError):
    """Right input at the wrong moment."""

    code = "failed_precondition"


class ResourceExhaustedError(CkptError, MemoryError):
    """Memory, disk or descriptors; the text says how much is missing."""

    code = "resource_exhausted"


class DeadlineExceededError(CkptError, TimeoutError):
    """A wait ended before what it waited for."""

    code = "deadline_exceeded"


class CancelledError(CkptError, RuntimeError):
    """The caller, here or on another rank, ended it."""

    code = "cancelled"


class UnavailableError(CkptError, ConnectionError):
    """A peer or a service is gone."""

    code = "unavailable"


class StaleEpochError(CkptError, RuntimeError):
    """A message of a membership that has ended."""

    code = "stale_epoch"


class DataCorruptionError(CkptError, ValueError):
    """Bytes that are not what they must be."""

    code = "data_corruption"


class UnsupportedError(CkptError, NotImplementedError):
    """Understood, and not offered."""

    code = "unsupported"


class RemoteError(CkptError, RuntimeError):
    """The other side raised; its text is kept."""

    code = "remote_error"


#: By the codes' names. "ok" has none.
BY_CODE: Dict[str, Type[CkptError]] = {
    kind.code: kind
    for kind in (
        InternalError,
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        FailedPreconditionError,
        ResourceExhaustedError,
        DeadlineExceededError,
        CancelledError,
        UnavailableError,
        StaleEpochError,
        DataCorruptionError,
        UnsupportedError,
        RemoteError,
    )
}
