"""Runs the load generators and says what they measured."""
import os
import re
import subprocess
import time

import stack

LUA = os.path.join(stack.BENCH, "load.lua")


class Sample:
    """One measurement. rate: per second; p50, p99: ms; cpu: {part: µs per request}."""

    def __init__(self, rate, p50=None, p99=None, cpu=None, problem=None, answers=0,
                 note=None):
        self.rate, self.p50, self.p99, self.cpu = rate, p50, p99, cpu or {}
        self.problem, self.answers, self.note = problem, answers, note


class Meter:
    """CPU time of the parts of one run. parts: {name: function -> pids}"""

    def __init__(self, parts, postmaster=None):
        self._parts, self._postmaster = parts, postmaster
        self._before = self._read()

    def _read(self):
        out = {name: stack.cpu_seconds(pids()) for name, pids in self._parts.items()}
        if self._postmaster:
            with open("/proc/%d/stat" % self._postmaster) as f:
                fields = f.read().rpartition(")")[2].split()
            # of its children that ended: pgbench's back ends
            out["postgres"] += (int(fields[13]) + int(fields[14])) / stack.TICK
        return out

    def per(self, count):
        after = self._read()
        return {name: (after[name] - self._before[name]) / max(count, 1) * 1e6 for name in after}


_BENCH = re.compile(r"^BENCH (.*)$", re.M)


def wrk_command(url, seconds, connections, script=()):
    command = ["wrk", "-t1", "-c%d" % connections, "-d%ds" % max(1, round(seconds)),
               "--timeout", "30s", "-s", LUA, url, "--", *script]
    return command


def wrk(url, seconds, connections=32, script=(), meter=None):
    """script: the arguments of load.lua"""
    meter = meter() if meter else None
    done = subprocess.run(wrk_command(url, seconds, connections, script), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    found = _BENCH.search(done.stdout)
    if done.returncode or not found:
        raise RuntimeError("wrk failed:\n" + done.stdout[-2000:])
    v = {k: float(x) for k, x in (pair.split("=") for pair in found.group(1).split())}
    cpu = meter.per(v["answers"]) if meter else {}
    problem = note = None
    if v["refused"] or v["broken"] > v["answers"] / 100:
        problem = "%d answers were errors, %d requests had none" % (v["refused"], v["broken"])
    elif not v["requests"]:
        problem = "no request was answered"
    elif v["broken"]:
        # httpd closes idle connections when all its threads are busy
        note = "%d connections were closed" % v["broken"]
    return Sample(v["requests"] / max(v["seconds"], 1e-6), v["p50"] / 1000, v["p99"] / 1000, cpu,
                  problem, int(v["answers"]), note)


def start_wrk(url, seconds, connections, script=()):
    """In the background; ends by itself, or by terminate()."""
    return subprocess.Popen(wrk_command(url, seconds, connections, script),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def write_requests(path, requests):
    """requests: (method, path, content type, token, body), None for nothing"""
    with open(path, "w") as f:
        for request in requests:
            f.write("\t".join(x if x is not None else "-" for x in request) + "\n")
    return path


def collect(server, file, count):
    """Sends each request of file once -> the bodies of the answers, in any order"""
    out = file + ".answers"
    sample = wrk(server.url(), 120, 16, ["collect", file, out])
    with open(out) as f:
        bodies = f.read().splitlines()
    if sample.problem or len(bodies) != count:
        raise RuntimeError("%d of %d requests were answered; %s; the last answer was %s" % (
            len(bodies), count, sample.problem, bodies[-1:]))
    return bodies


def pgbench(dsn, script, variables, seconds, directory, clients, meter):
    """script: a file; -M prepared, over the same socket that the module uses"""
    for name in os.listdir(directory):
        if name.startswith("latency."):
            os.unlink(os.path.join(directory, name))
    command = [stack.paths.pg_bin("pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", "2",
               "-T", str(max(1, round(seconds))), "-f", script, "-l", "--sampling-rate=0.05",
               "--log-prefix=" + os.path.join(directory, "latency")]
    for name, value in variables.items():
        command += ["-D", "%s=%s" % (name, value)]
    meter = meter()
    done = subprocess.run(command + [dsn], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, cwd=directory)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    count = re.search(r"transactions actually processed: (\d+)", done.stdout)
    if done.returncode or not rate:
        raise RuntimeError("pgbench failed:\n" + done.stdout[-2000:])
    failed = re.search(r"failed transactions: (\d+)", done.stdout)
    time.sleep(0.1)                     # its back ends end
    cpu = meter.per(int(count.group(1)))
    times = []
    for name in os.listdir(directory):
        if name.startswith("latency."):
            with open(os.path.join(directory, name)) as f:
                times += [int(line.split()[2]) / 1000 for line in f]
    times.sort()
    at = (lambda q: times[min(len(times) - 1, int(q * len(times)))]) if times else lambda q: None
    problem = None
    if failed and int(failed.group(1)):
        problem = "%s transactions failed" % failed.group(1)
    return Sample(float(rate.group(1)), at(0.5), at(0.99), cpu, problem, int(count.group(1)))


def sqlite_loop(program, database, operation, seconds, sync, round_, users, params):
    command = [program, database, operation, str(seconds), sync, str(round_), str(users)]
    done = subprocess.run(command, input=params, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode:
        raise RuntimeError("sqlite_loop %s: %s" % (operation, done.stderr.strip()))
    count, taken = done.stdout.split()
    return Sample(int(count) / float(taken), answers=int(count))


def openssl_speed(seconds=1):
    """-> {what: operations per second}"""
    def ask(*arguments):
        done = subprocess.run(["openssl", "speed", "-mr", "-seconds", str(seconds), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return done.stdout
    out = {}
    found = re.search(r"^\+F:\d+:hmac\(sha256\):([\d.]+)",
                      ask("-bytes", "400", "-hmac", "sha256"), re.M)
    if found:
        out["HMAC-SHA-256 of 400 bytes"] = float(found.group(1)) / 400
    # +F2/+F4/+F6:number:bits[:name]:signatures:verifications
    for name, label in (("rsa2048", "RS256"), ("ecdsap256", "ES256"), ("ed25519", "EdDSA")):
        found = re.search(r"^\+F[246]:.*:([\d.e+-]+):([\d.e+-]+)$", ask(name), re.M)
        if found:
            for what, value in zip(("sign", "verify"), map(float, found.groups())):
                # per second; older versions print the seconds of one
                out["%s %s" % (label, what)] = 1 / value if 0 < value < 1 else value
    return out

