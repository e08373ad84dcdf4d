"""A thread that asks a server from `with` to its end."""

import threading


class AskingThread(threading.Thread):
    """`ask_once` is called one time after the other, until the block ends or it raises one of `expected`, which `gave_up` is given."""

    expected: tuple = (OSError,)

    def __init__(self):
        super().__init__(daemon=True)
        self.done = threading.Event()

    def ask_once(self) -> None:
        raise NotImplementedError

    def gave_up(self, error: Exception) -> None:
        raise NotImplementedError

    def run(self):
        try:
            while not self.done.is_set():
                self.ask_once()
        except self.expected as error:
            self.gave_up(error)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join(60)
        assert not self.is_alive(), "a request has no answer"
