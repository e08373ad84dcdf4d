"""Exceptions: one class a code, which also is the fitting built-in one."""

import pickle

import pytest
from ckpt_engine import errors

BUILT_IN = {
    "internal": RuntimeError,
    "invalid_argument": ValueError,
    "not_found": LookupError,
    "already_exists": ValueError,
    "failed_precondition": RuntimeError,
    "resource_exhausted": MemoryError,
    "deadline_exceeded": TimeoutError,
    "cancelled": RuntimeError,
    "unavailable": ConnectionError,
    "stale_epoch": RuntimeError,
    "data_corruption": ValueError,
    "unsupported": NotImplementedError,
    "remote_error": RuntimeError,
}


@pytest.mark.parametrize("code", BUILT_IN)
def test_each_code_has_a_class_that_is_also_the_built_in_one(code):
    kind = errors.BY_CODE[code]
    assert issubclass(kind, errors.CkptError) and issubclass(kind, BUILT_IN[code]) and kind.code == code
    error = kind("bucket 17 to worker x: no answer", stage="hand-over", rank=0, advice="restart the engine")
    assert str(error) == f"{code}: rank 0, hand-over: bucket 17 to worker x: no answer (restart the engine)"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.message, copy.stage, copy.rank, copy.advice) == (
        kind,
        str(error),
        error.message,
        "hand-over",
        0,
        "restart the engine",
    )


def test_every_code_is_listed():
    assert set(errors.BY_CODE) == set(BUILT_IN)
