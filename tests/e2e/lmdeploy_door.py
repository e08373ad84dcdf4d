"""The HTTP door of an LMDeploy, around the workers of gpu_engine.py: what it tells, and what it refuses in which state."""

import json
from urllib.parse import parse_qs, urlsplit


def lmdeploy_door(base, version: str, model):
    """`base`: a door whose POST /update_weights_from_ipc carries out the update. The engine starts awake, with weights of its own."""
    model.sleeping, model.told = set(), []

    class Door(base):
        def do_GET(self):  # noqa: N802
            if self.path == "/told":
                return self.answer(200, {"told": model.told, "sleeping": sorted(model.sleeping)})
            if self.path != "/update_weights_from_ipc":
                return super().do_GET() if self.path == "/model" else self.answer(404, {"detail": "Not Found"})
            ready = "kv_cache" in model.sleeping
            topology = {"world_size": len(model.keys), "tp": len(model.keys), "dp": 1, "dp_rank": 0, "ep": 1}
            state = {"ready": ready, "message": "ready" if ready else "Engine must be sleeping with kv_cache unavailable.", "backend": "pytorch", "device_type": "cuda"}
            state |= {"checkpoint_engine_version": version, "is_sleeping": bool(model.sleeping), "sleeping_tags": sorted(model.sleeping), "device_uuids": model.keys}
            return self.answer(200, state | {"worker_ranks": list(range(len(model.keys)))} | topology)

        def do_POST(self):  # noqa: N802
            url = urlsplit(self.path)
            if url.path == "/control":
                return super().do_POST()
            if self.headers.get("Content-Type") != "application/json":
                return self.answer(400, {"message": "Unsupported Media Type", "code": 400})
            if url.path == "/update_weights_from_ipc":
                model.told.append("update")
                if model.sleeping == {"kv_cache"}:
                    return super().do_POST()
                return self.answer(400, {"success": False, "message": "Engine is not prepared for a checkpoint-engine update."})
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            model.told.append(self.path)
            if url.path == "/sleep":
                model.sleeping = {"weights", "kv_cache"}
                model.tensors = []
            elif url.path == "/wakeup":
                model.sleeping -= set(parse_qs(url.query)["tags"])
            else:
                return self.answer(404, {"detail": "Not Found"})
            return self.answer(200, "")

    return Door
