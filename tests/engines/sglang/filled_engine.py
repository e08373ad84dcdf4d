"""An SGLang on the CPU, as far as it can be one: its loader, its worker, its server's application; kernels, and what is between the server and the worker, are
stand-ins. Usage: filled_engine.py RANK WORLD_SIZE GROUP_PORT MODEL DOOR_PORT HTTP_PORT ours|theirs

Rank 0 writes a line of JSON for each thing done, all ranks "differing" for a checkpoint named in a line of stdin. `theirs`: without this package's plug-in;
then the model has weights of zeros and nothing fills it.
"""

import asyncio
import contextlib
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import sglang_rank
import torch

RANK, WORLD_SIZE, GROUP_PORT = (int(text) for text in sys.argv[1:4])
MODEL, DOOR_PORT, HTTP_PORT, OURS = Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "ours"


def tell(**what) -> None:
    print(json.dumps(what), flush=True)


def load(config):
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.model_loader import loader
    from sglang.srt.model_loader.utils import set_default_torch_dtype

    if OURS:
        load_config = LoadConfig(load_format="ckpt_engine", model_loader_extra_config=json.dumps({"port": DOOR_PORT}))
        return loader.get_model_loader(load_config, None).load_model(model_config=config, device_config=SimpleNamespace(device="cpu"))
    with set_default_torch_dtype(config.dtype):
        model = loader._initialize_model(config, SimpleNamespace(draft_model_idx=None))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def serve(runner) -> None:
    """SGLang's application and its tokenizer manager's method; what would send the request to the schedulers calls SGLang's worker."""
    import uvicorn
    from sglang.srt.entrypoints import http_server
    from sglang.srt.managers.tokenizer_control_mixin import TokenizerControlMixin
    from sglang.srt.model_executor.model_runner_components.weight_updater import WeightUpdater
    from sglang.srt.utils.aio_rwlock import RWLock

    class Manager(TokenizerControlMixin):
        server_args = SimpleNamespace(dp_size=1, enable_dp_attention=False, weight_version="default", api_key=None, admin_api_key=None)
        initial_weights_loaded, is_pause = False, False
        model_path = "made up"

        def __init__(self):
            self.is_pause_cond = asyncio.Condition()
            self.model_update_lock = RWLock()

        async def ask(self):
            """The two places where generate_request waits."""
            async with self.is_pause_cond:
                await self.is_pause_cond.wait_for(lambda: not self.is_pause)
            async with self.model_update_lock.reader_lock:
                return {"answered": True}

        def auto_create_handle_loop(self): ...

        def _update_weight_version_if_provided(self, version):
            self.server_args.weight_version = version

        def _update_model_path_info(self, model_path, load_format):
            self.model_path = model_path

        async def update_weights_from_ipc_communicator(self, request):
            updater = SimpleNamespace(get_model_runner=lambda: runner)
            success, message = await asyncio.to_thread(WeightUpdater.update_weights_from_ipc, updater, request)
            return [SimpleNamespace(success=success, message=message)]

    manager = Manager()
    http_server.set_global_state(SimpleNamespace(tokenizer_manager=manager, template_manager=None, scheduler_info={}))
    http_server.app.get("/test_ask")(manager.ask)
    http_server.app.router.lifespan_context = contextlib.asynccontextmanager(_no_lifespan)
    http_server.app.get("/test_facts")(lambda: {
        "version": Manager.server_args.weight_version,
        "path": manager.model_path,
        "loaded": manager.initial_weights_loaded,
    })
    server = uvicorn.Server(uvicorn.Config(http_server.app, host="127.0.0.1", port=HTTP_PORT, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()


async def _no_lifespan(_):
    yield


sglang_rank.join(RANK, WORLD_SIZE, GROUP_PORT)
if OURS:
    from ckpt_engine.sglang import register

    register()
else:  # on a GPU it is the GPU's
    from sglang.srt.checkpoint_engine.checkpoint_engine_worker import SGLangCheckpointEngineWorkerExtensionImpl as Worker

    update = Worker.update_weights_from_ipc
    Worker.get_device_uuid, Worker.get_device_id = (lambda self: "GPU-0"), (lambda self: None)
    Worker.update_weights_from_ipc = lambda self, handles: update(self, dict(zip(["GPU-0"], handles.values())))
config = sglang_rank.model_config(MODEL)
try:
    model = load(config)
except Exception as error:  # noqa: BLE001
    tell(failed=str(error))
    raise
if HTTP_PORT:
    serve(SimpleNamespace(model=model, device="cpu"))
tell(ready=True)
for line in sys.stdin:
    tell(differing=sglang_rank.differing(model, config, Path(line.strip())))
