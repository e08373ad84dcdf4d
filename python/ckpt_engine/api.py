"""Asks an engine over HTTP to take an update: what a script's req_func calls on the first rank of each engine."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional
from urllib.parse import urlsplit

from . import errors

if TYPE_CHECKING:
    from .ps import ParameterServer

_MOST_REPLY_BYTES = 1 << 20


def request_inference_to_update(
    url: str,
    socket_paths: Mapping[str, str],
    timeout: float = 300.0,
    uds: Optional[str] = None,
    *,
    weight_version: Optional[str] = None,
    api_key: Optional[str] = None,
) -> None:
    """Posts the engines' update call and returns when the engine has taken the weights.

        url             "http://host:port/collective_rpc" (vLLM), "…/update_weights_from_ipc" (SGLang, LMDeploy,
                        ckpt-engine engine); any other path gets vLLM's form
        socket_paths    of this engine's workers: device uuid, socket address
        timeout         seconds, for the whole call
        uds             path of a Unix socket that the engine listens on, instead of the URL's host
        weight_version  name of the version, for engines that keep one: at most 256 bytes
        api_key         bearer token; by default that of CKPT_API_KEY

    Raises UnavailableError if the engine cannot be reached or goes away, DeadlineExceededError after `timeout`,
    RemoteError with the status and the engine's own words if it refuses.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.InvalidArgumentError(f"{url!r} is no http address of an engine")
    sglang = parts.path.endswith("/update_weights_from_ipc")
    body = json.dumps(
        _sglang(socket_paths, weight_version) if sglang else _vllm(socket_paths, timeout, weight_version)
    ).encode()
    headers = {"Content-Type": "application/json"}
    token = api_key if api_key is not None else os.environ.get("CKPT_API_KEY", "")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    where = f"POST {url}" + (f" at {uds}" if uds else "")
    end = time.monotonic() + timeout
    connection = _connection(parts.scheme, parts.hostname, parts.port, timeout, uds)
    try:
        connection.request("POST", target, body, headers)
        reply = connection.getresponse()
        _judge(where, reply.status, _read(connection, reply, end), socket_paths)
    except TimeoutError as error:
        if isinstance(error, errors.CkptError):
            raise
        raise errors.DeadlineExceededError(f"{where}: no reply in {timeout} s") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, errors.CkptError):
            raise
        if isinstance(error, socket.timeout):  # of its own before Python 3.10
            raise errors.DeadlineExceededError(f"{where}: no reply in {timeout} s") from None
        raise errors.UnavailableError(f"{where}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def _vllm(socket_paths: Mapping[str, str], timeout: float, weight_version: Optional[str]) -> Dict[str, Any]:
    body: Dict[str, Any] = {"method": "update_weights_from_ipc", "args": [dict(socket_paths)], "timeout": timeout}
    if weight_version is not None:
        body["kwargs"] = {"weight_version": weight_version}
    return body


def _sglang(socket_paths: Mapping[str, str], weight_version: Optional[str]) -> Dict[str, Any]:
    body: Dict[str, Any] = {"zmq_handles": dict(socket_paths)}
    if weight_version is not None:
        body["weight_version"] = weight_version
    return body


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, host: str, timeout: float, path: str) -> None:
        super().__init__(host, timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def _connection(
    scheme: str, host: str, port: Optional[int], timeout: float, uds: Optional[str]
) -> http.client.HTTPConnection:
    if uds:
        return _UnixConnection(host, timeout, uds)
    return (http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection)(
        host, port, timeout=timeout
    )


def _read(connection: http.client.HTTPConnection, reply: http.client.HTTPResponse, end: float) -> bytes:
    """The reply's body, at most 1 MiB of it, until `end`."""
    body = b""
    while len(body) < _MOST_REPLY_BYTES:
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(remaining)
        piece = reply.read1(_MOST_REPLY_BYTES - len(body))
        if not piece:
            break
        body += piece
    return body


def _judge(where: str, status: int, body: bytes, socket_paths: Mapping[str, str]) -> None:
    said = body.decode("utf-8", "replace").strip()
    advice = {
        401: "give the engine's key as api_key or CKPT_API_KEY",
        404: "the engine has no such route: look at its version and how it was started",
    }
    if status != 200:
        raise errors.RemoteError(f"{where}: status {status}: {said[:2000]}", advice=advice.get(status, ""))
    try:
        reply = json.loads(said) if said else {}
    except ValueError:
        return  # some engines answer with words
    if isinstance(reply, dict) and reply.get("success") is False:
        raise errors.RemoteError(f"{where}: {reply.get('message', said[:2000])}")
    if isinstance(reply, dict) and isinstance(reply.get("results"), list):
        _judge_workers(where, reply["results"], socket_paths)


def _judge_workers(where: str, results: List[Any], socket_paths: Mapping[str, str]) -> None:
    """What our own workers answer instead of raising, and whether it is this call that they answer (see
    vllm/colocate.py). Others answer null."""
    for worker, result in enumerate(results):
        said = result.get("ckpt_engine") if isinstance(result, dict) else None
        if not isinstance(said, dict):
            continue
        if said.get("session") not in socket_paths.values():
            raise errors.RemoteError(
                f"{where}: the reply of worker {worker} belongs to another call",
                advice="restart the engine: it mixes up its replies",
            )
        if said.get("error"):
            raise errors.RemoteError(f"{where}: worker {worker}: {said['error']}")


def _init_api(ps: ParameterServer) -> Any:
    """The HTTP routes of a parameter server. Raises UnsupportedError: there is no `serve` yet."""
    raise errors.UnsupportedError(
        "a parameter server over HTTP is not offered", advice="call ParameterServer's methods"
    )
