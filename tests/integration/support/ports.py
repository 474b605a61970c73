"""Free ports on the loopback. A port is handed out once per run, and lies outside the range the
kernel picks client ports from, so that nothing takes it between asking and listening; each of
pytest-xdist's workers has a range of its own."""
import os
import random
import socket
import time

_given = set()
_random = random.Random()


def _client_range():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            low, high = (int(x) for x in f.read().split())
            return low, high
    except (OSError, ValueError):
        return 32768, 60999


def is_free(port):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((address, port))
        except OSError as e:
            if family == socket.AF_INET6 and e.errno in (97, 99):   # no IPv6 here
                continue
            return False
    return True


def _our_range():
    low, high = 12000, max(_client_range()[0], 13000)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    size = (high - low) // workers
    return low + worker * size, low + (worker + 1) * size


def free_port():
    for _ in range(2000):
        port = _random.randrange(*_our_range())
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port found on 127.0.0.1")


def wait_for(port, seconds=20):
    """Until somebody listens there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
