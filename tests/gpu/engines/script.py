"""Written for the published package, as users write it: updates a running engine through `checkpoint_engine.ps.ParameterServer`, under torchrun.

    torchrun --nproc-per-node TP script.py vllm|vllm-routes|sglang URL CHECKPOINT_DIR NAME [UPDATES]

vllm: by /collective_rpc. vllm-routes: by vLLM's own weight-transfer routes. sglang: by /update_weights_from_ipc. Prints one JSON line of seconds for
each of UPDATES (1); the first token is counted from the call of update().
"""

import glob
import json
import os
import sys
import time

import httpx
from checkpoint_engine.ps import ParameterServer

route, url, folder, name = sys.argv[1:5]
updates = int(sys.argv[5]) if len(sys.argv) > 5 else 1
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
client = httpx.Client(timeout=120, trust_env=False)


def post(path, body=None):
    reply = client.post(url + path, json=body)
    if reply.status_code != 200:
        raise RuntimeError(f"{path}: {reply.status_code} {reply.text}")
    return reply


def request(sockets):
    if rank:
        return
    if route == "vllm":
        post("/collective_rpc", {"method": "update_weights_from_ipc", "args": [dict(sockets)], "timeout": 120})
    elif route == "vllm-routes":
        post("/init_weight_transfer_engine", {"init_info": {}})
        post("/start_weight_update")
        post("/update_weights", {"update_info": {"zmq_handles": dict(sockets)}})
        post("/finish_weight_update")
    else:
        post("/update_weights_from_ipc", {"zmq_handles": dict(sockets), "flush_cache": True, "weight_version": name})


def first_token():
    if route == "sglang":
        post("/generate", {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 1, "temperature": 0}})
    else:
        post("/v1/completions", {"model": "model", "prompt": [5, 6, 7], "max_tokens": 1, "temperature": 0})


ps = ParameterServer(auto_pg=True)
begin = time.time()
ps.register_checkpoint(name, files=sorted(glob.glob(os.path.join(folder, "*.safetensors")))[rank::size])
registered = time.time()
for _ in range(updates):
    before = time.time()
    ps.init_process_group()
    ps.gather_metas(name)
    gathered = time.time()
    ps.update(name, request)
    updated = time.time()
    if rank == 0:
        first_token()
        seconds = {"register": registered - begin, "metas": gathered - before, "update": updated - gathered, "first_token": time.time() - gathered}
        print(json.dumps({what: round(value, 4) for what, value in seconds.items()}), flush=True)
ps.unregister_checkpoint(name)
