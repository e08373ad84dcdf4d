"""The file worker.py of a published checkpoint-engine package, as it is; the package's __init__.py would import the whole server. Or our own worker."""

import sys
import types
from pathlib import Path


def import_worker(package: Path):
    if (package / "ckpt_engine").is_dir():
        sys.path.insert(0, str(package))
        import ckpt_engine.worker

        return ckpt_engine.worker
    module = types.ModuleType("checkpoint_engine")
    module.__path__ = [str(package / "checkpoint_engine")]
    sys.modules["checkpoint_engine"] = module
    import checkpoint_engine.worker

    return checkpoint_engine.worker
