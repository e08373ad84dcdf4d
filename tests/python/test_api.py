"""The engines' update call: what is posted, and what becomes of each reply."""

import http.server
import json
import socketserver
import threading
import time

import pytest
from ckpt_engine import errors, request_inference_to_update

PATHS = {"GPU-a": "ipc://@a.sock", "GPU-b": "ipc://@b.sock"}


class Engine:
    """An HTTP server that keeps what it is asked and replies as told."""

    def __init__(self, status=200, body=b"", delay_s=0.0, unix_path=None):
        engine = self
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                engine.asked.append(
                    (self.path, self.headers, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                )
                engine.released.wait(delay_s)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self):
                return "client"

            def log_message(self, *_):
                pass

        self.released = threading.Event()
        self.server = (
            socketserver.ThreadingUnixStreamServer(unix_path, Handler)
            if unix_path
            else http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        )
        self.url = "http://localhost" if unix_path else f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def test_vllm_is_asked_by_its_own_form():
    with Engine(body=b'{"results": [null, null]}') as engine:
        request_inference_to_update(f"{engine.url}/collective_rpc", PATHS, 60.0)
    ((path, headers, body),) = engine.asked
    assert (path, body) == ("/collective_rpc", {"method": "update_weights_from_ipc", "args": [PATHS], "timeout": 60.0})
    assert headers["Content-Type"] == "application/json" and headers["Authorization"] is None


def test_versions_and_keys_are_sent_where_they_are_given(monkeypatch):
    monkeypatch.setenv("CKPT_API_KEY", "secret")
    with Engine() as engine:
        request_inference_to_update(f"{engine.url}/collective_rpc", PATHS, weight_version="v1")
        request_inference_to_update(
            f"{engine.url}/update_weights_from_ipc", PATHS, weight_version="v1", api_key="other"
        )
        request_inference_to_update(f"{engine.url}/update_weights_from_ipc", PATHS)
    assert [body for _, _, body in engine.asked] == [
        {"method": "update_weights_from_ipc", "args": [PATHS], "timeout": 300.0, "kwargs": {"weight_version": "v1"}},
        {"zmq_handles": PATHS, "weight_version": "v1"},
        {"zmq_handles": PATHS},
    ]
    assert [headers["Authorization"] for _, headers, _ in engine.asked] == [
        "Bearer secret",
        "Bearer other",
        "Bearer secret",
    ]


def test_unix_sockets_are_used_where_one_is_given(tmp_path):
    path = str(tmp_path / "engine.sock")
    with Engine(unix_path=path) as engine:
        request_inference_to_update("http://localhost/collective_rpc", PATHS, uds=path)
    assert engine.asked[0][0] == "/collective_rpc"


@pytest.mark.parametrize("status, body, why", [
    (500, b"loader said no", "status 500: loader said no"),
    (401, b'{"error": "Unauthorized"}', "status 401.*CKPT_API_KEY"),
    (404, b"", "status 404.*no such route"),
    (200, b'{"success": false, "message": "not now"}', "not now"),
    (200, b'{"results": [null, {"ckpt_engine": {"session": "ipc://@b.sock", "error": "k_proj did not come"}}]}', "worker 1: k_proj did not come"),
    (200, b'{"results": [{"ckpt_engine": {"session": "ipc://@before.sock", "error": null}}]}', "worker 0 belongs to another call"),
])  # fmt: skip
def test_refusals_are_errors_with_the_engines_words(status, body, why):
    with Engine(status, body) as engine, pytest.raises(errors.RemoteError, match=why):
        request_inference_to_update(f"{engine.url}/collective_rpc", PATHS)


@pytest.mark.parametrize("body", [b"", b"ok", b"[1]", b'{"success": true}', b'{"results": [{"ckpt_engine": {"session": "ipc://@a.sock", "error": null}}, 3]}'])
def test_replies_of_any_form_are_well_with_status_200(body):
    with Engine(200, body) as engine:
        request_inference_to_update(f"{engine.url}/collective_rpc", PATHS)


def test_an_engine_that_does_not_reply_ends_at_the_timeout():
    begin = time.monotonic()
    with Engine(delay_s=60) as engine, pytest.raises(errors.DeadlineExceededError, match="no reply in 0.2 s"):
        request_inference_to_update(f"{engine.url}/collective_rpc", PATHS, 0.2)
    assert time.monotonic() - begin < 30


def test_an_engine_that_is_not_there_is_unavailable():
    with Engine() as engine:
        url = engine.url
    with pytest.raises(errors.UnavailableError, match="refused") as raised:
        request_inference_to_update(f"{url}/collective_rpc", PATHS)
    assert isinstance(raised.value, ConnectionError)


@pytest.mark.parametrize("url", ["", "localhost:8000/x", "ftp://host/x", "http:///x"])
def test_addresses_that_are_none_are_refused(url):
    with pytest.raises(errors.InvalidArgumentError):
        request_inference_to_update(url, PATHS)
