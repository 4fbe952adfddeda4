"""The exec helper: a small program that starts the commands, so that the supervisor need not fork.

It runs by path in a process of its own (`python -I -S -E _exec_helper.py ...`), single-threaded,
and imports nothing of the package. Each job is started with `posix_spawn`: the session is new,
every signal is back to its default, argv and environment arrive byte for byte, and an error of
exec comes back as an errno, never as an exit code.

Rules:

* Placement comes before exec. The helper enters the job's cgroup itself, spawns there, and goes
  home; whoever is born in a cgroup has no moment outside it. If it cannot enter, the job fails.
* A message is one packet with its file descriptors: never half of one, never another's.
* What goes wrong in starting one job is the failure of that job, whatever it is: the helper serves
  all of them. Only one that cannot find its way home ends.
* When the supervisor is gone (its end of the socket closed, or its pidfd readable: a stray fork may
  keep the socket open), everything that was started is killed before the helper leaves.
* It is a child subreaper: orphans of its jobs come to it, and it reaps them.

Requests and answers are marshalled tuples; see `_spawner`, the only one who talks to it.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Environment = dict[bytes, bytes]

MAX_PACKET = 1 << 16
MAX_FDS = 4
# What is said of a path or of an error, in bytes (PATH_MAX): an answer always fits into a packet.
MAX_ABOUT = 4096
# How a socket says that its other end is gone.
GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN})
PR_SET_CHILD_SUBREAPER = 36
DEFAULT_PATH = b"/bin:/usr/bin"
# What a search of PATH passes over, as glibc's execvpe does.
TRY_NEXT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT})
KILL_SECONDS = 10.0
CHILDREN = f"/proc/self/task/{os.getpid()}/children"


class SupervisorGone(Exception):
    """Nobody is left to report to."""


class SpawnFailed(Exception):
    """A job was not started: at which step, why, and what it was about."""

    def __init__(self, step: str, error: OSError, about: bytes = b"") -> None:
        super().__init__(step)
        self.step = step
        self.errno = error.errno or 0
        self.about = about[:MAX_ABOUT]


class Stranded(Exception):
    """The helper could not leave the place of a job, and must not go on from there."""


class Helper:
    """The helper's state.

    Args:
        sock: the packet socket to the supervisor.
        root: the cgroup above all the jobs' own, or "" if process groups are used.
        home: `cgroup.procs` of where the helper lives, open for writing; -1 without cgroups.

    `leaders` holds the pid of each job's first process, running or (without cgroups) ended but not
    reaped: as long as it is a zombie nobody else can get its number, so its group may be signalled.
    """

    def __init__(self, sock: socket.socket, root: str, home: int) -> None:
        self.sock = sock
        self.root = root
        self.home = home
        self.hold = not root
        self.leaders: dict[int, int] = {}
        self.pids: dict[int, int] = {}
        self.held: set[int] = set()

    def reply(self, *message: Any) -> None:
        try:
            self.sock.send(marshal.dumps(message))
        except OSError as error:
            if error.errno in GONE:
                raise SupervisorGone from error
            raise

    # --- requests

    def read_requests(self) -> None:
        """Handle what has arrived; a bounded number, so that the ended are reaped in between."""
        for _ in range(16):
            try:
                data, fds, truncated = receive(self.sock)
            except BlockingIOError:
                return
            except OSError as error:
                raise SupervisorGone from error
            if not data:
                raise SupervisorGone
            self.handle(data, fds, truncated)

    def handle(self, data: bytes, fds: list[int], truncated: bool) -> None:
        try:
            message = marshal.loads(data)
            if truncated:
                self.reply("failed", message[1], "helper", errno.EMFILE, b"")
            elif message[0] == "spawn":
                self.spawn(message, fds)
            elif message[0] == "signal":
                self.signal_group(message[1], message[2])
            elif message[0] == "release":
                self.release(message[1])
        finally:
            for fd in fds:
                os.close(fd)

    def spawn(self, message: tuple[Any, ...], fds: list[int]) -> None:
        job, cgroup, body = message[1:]
        try:
            argv, env, cwd = marshal.loads(body if body is not None else read_all(fds[3]))
            pid = self.start(argv, env, cwd, cgroup, fds)
        except SpawnFailed as failure:
            self.reply("failed", job, failure.step, failure.errno, failure.about)
            return
        except Stranded:
            raise
        except Exception as error:
            self.reply("failed", job, "helper", 0, describe(error))
            return
        self.leaders[pid] = job
        self.pids[job] = pid
        self.reply("started", job, pid)

    def start(
        self, argv: list[bytes], env: Environment, cwd: bytes | None, cgroup: str, fds: list[int]
    ) -> int:
        out, err, here = fds[:3]
        try:
            go_to(here, cwd)
            if cgroup:
                enter(cgroup)
            return execute(argv, env, out, err)
        finally:
            self.go_home(cgroup)

    def go_home(self, cgroup: str) -> None:
        """Leave the place of a job.

        Raises:
            Stranded: not to be done. The helper must end: the job's death would be its own.
        """
        try:
            if cgroup:
                os.write(self.home, b"0")
            os.chdir("/")
        except OSError as error:
            place = cgroup or "a working directory"
            raise Stranded(f"no way back from {place}: {error}") from error

    def signal_group(self, job: int, number: int) -> None:
        pid = self.pids.get(job)
        if pid is not None:
            signal_quietly(os.killpg, pid, number)

    def release(self, job: int) -> None:
        """The group of this job is gone: give its number back."""
        pid = self.pids.pop(job, None)
        if pid is not None:
            del self.leaders[pid]
            self.held.discard(pid)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)

    # --- the ended

    def reap(self) -> None:
        if self.hold:
            self.reap_and_hold()
        else:
            self.reap_all()

    def reap_all(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            job = self.leaders.pop(pid, None)
            if job is not None:
                del self.pids[job]
                code = os.waitstatus_to_exitcode(status)
                self.reply("ended", job, code if code >= 0 else None, -code if code < 0 else None)

    def reap_and_hold(self) -> None:
        for pid, job in self.leaders.items():
            if pid in self.held:
                continue
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                self.held.add(pid)
                exited = ended.si_code == os.CLD_EXITED
                code, number = (ended.si_status, None) if exited else (None, ended.si_status)
                self.reply("ended", job, code, number)
        for pid in children():
            if pid not in self.leaders:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)

    # --- the end

    def abandon(self) -> None:
        """Kill all that was started."""
        if self.root:
            kill_cgroup(self.root)
        else:
            for pid in self.leaders:
                signal_quietly(os.killpg, pid, signal.SIGKILL)
            kill_descendants()

    def serve(self, parent: int) -> None:
        wake = open_wakeup()
        epoll = select.epoll()
        for fd in (self.sock.fileno(), parent, wake):
            epoll.register(fd, select.EPOLLIN)
        while True:
            ready = [fd for fd, _ in epoll.poll()]
            if parent in ready:
                raise SupervisorGone
            if wake in ready:
                os.read(wake, 4096)
                self.reap()
            if self.sock.fileno() in ready:
                self.read_requests()


# --- starting a program --------------------------------------------------------------------------


def go_to(here: int, cwd: bytes | None) -> None:
    """Go to `cwd`, seen from the supervisor's own directory."""
    try:
        os.fchdir(here)
        if cwd is not None:
            os.chdir(cwd)
    except OSError as error:
        raise SpawnFailed("chdir", error, cwd or b".") from error


def enter(cgroup: str) -> None:
    try:
        write(cgroup + "/cgroup.procs", b"0")
    except OSError as error:
        raise SpawnFailed("cgroup", error, os.fsencode(cgroup)) from error


def execute(argv: list[bytes], env: Environment, out: int, err: int) -> int:
    """Start argv; a name without a slash is looked up in the PATH of `env`."""
    if b"/" in argv[0]:
        return spawn_path(argv[0], argv, env, out, err)
    denied: SpawnFailed | None = None
    for directory in env.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = os.path.join(directory or b".", argv[0])
        try:
            os.stat(path)  # much cheaper than to start a process that finds nothing
            return spawn_path(path, argv, env, out, err)
        except SpawnFailed as failure:
            if failure.errno == errno.EACCES:
                denied = failure
            elif failure.errno not in TRY_NEXT:
                raise
        except OSError as error:
            if error.errno == errno.EACCES:
                denied = SpawnFailed("exec", error, path)
    if denied is not None:
        raise denied
    raise SpawnFailed("path", FileNotFoundError(errno.ENOENT, ""), argv[0])


def spawn_path(path: bytes, argv: list[bytes], env: Environment, out: int, err: int) -> int:
    # Every descriptor of ours is close-on-exec; 0 is the null device and is inherited as it is.
    actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)]
    try:
        return os.posix_spawn(
            path,
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals(),
        )
    except OSError as error:
        raise SpawnFailed("exec", error, path) from error


# --- killing -------------------------------------------------------------------------------------


def kill_cgroup(root: str) -> None:
    """Kill everything below `root`, wait until it is empty, and take the directories away."""
    try:
        write(root + "/cgroup.kill", b"1")
        events = os.open(root + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        epoll = select.epoll()
        epoll.register(events, select.EPOLLPRI)
        while b"populated 0" not in os.pread(events, 4096, 0) and epoll.poll(KILL_SECONDS):
            pass
        for directory, _, _ in os.walk(root, topdown=False):
            os.rmdir(directory)
    except OSError:
        pass  # already taken away, or not to be taken away: there is nobody to tell


def kill_descendants() -> None:
    """Kill children until there are none: as we are the subreaper, all descendants become ours.

    A child is not reaped by anybody else, so its number is safe. Whoever dies hands its own
    children to us before we can reap it, so a blocking wait after a kill misses nobody.
    """
    while os.path.exists(CHILDREN):
        found = children()
        for pid in found:
            signal_quietly(os.kill, pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if found else os.WNOHANG)
        except ChildProcessError:
            return


def signal_quietly(send: Any, pid: int, number: int) -> None:
    try:
        send(pid, number)
    except OSError:
        return  # it is gone, or not ours to signal; the supervisor looks for itself


def children() -> list[int]:
    try:
        with open(CHILDREN, "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []  # a kernel without CONFIG_PROC_CHILDREN


# --- plumbing ------------------------------------------------------------------------------------


def describe(error: BaseException) -> bytes:
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")[:MAX_ABOUT]


def write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()


def receive(sock: socket.socket) -> tuple[bytes, list[int], bool]:
    """One packet: its data, its descriptors, and whether some of those were lost on the way."""
    data, ancillary, flags, _ = sock.recvmsg(
        MAX_PACKET,
        socket.CMSG_SPACE(4 * MAX_FDS),
        socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC,
    )
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(payload) - len(payload) % 4
            fds.extend(memoryview(payload[:whole]).cast("i"))
    return data, fds, bool(flags & socket.MSG_CTRUNC)


def open_wakeup() -> int:
    """A descriptor that becomes readable when a child has ended."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return read_end


def ignore_signals() -> None:
    """Only the supervisor ends us; jobs get the defaults back."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def become_subreaper() -> str:
    """Have orphans of our descendants come to us; why not, if that is not to be had."""
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            return os.strerror(ctypes.get_errno())
    except (ImportError, OSError, AttributeError) as error:
        return str(error)
    return ""


def open_home(path: str, root: str) -> tuple[int, str]:
    """Make the root, open the way home, try the way there and back; why not, if it does not work.

    The root may be there: a helper before this one was killed.
    """
    place = root + "/probe"
    try:
        home = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        for directory in (root, place):
            if not os.path.isdir(directory):
                os.mkdir(directory)
        write(place + "/cgroup.procs", b"0")
        os.write(home, b"0")
        os.rmdir(place)
    except OSError as error:
        return -1, f"a process cannot be placed in {place}: {error.strerror}"
    return home, ""


def watch_parent(expected: int) -> int:
    """A pidfd of the supervisor, which may have died while we started."""
    try:
        parent = os.pidfd_open(expected)
    except ProcessLookupError as error:
        raise SupervisorGone from error
    if os.getppid() != expected:
        raise SupervisorGone
    return parent


def main() -> None:
    fd, parent, home_path, root = sys.argv[1:]
    ignore_signals()
    sock = socket.socket(fileno=int(fd))
    os.set_inheritable(int(fd), False)
    os.chdir("/")
    home, why_not = open_home(home_path, root) if root else (-1, "")
    helper = Helper(sock, root, home)
    try:
        watched = watch_parent(int(parent))
        no_subreaper = become_subreaper()
        helper.reply("ready", why_not, no_subreaper)
        helper.serve(watched)
    except SupervisorGone:
        helper.abandon()
    except BaseException as error:
        # Said on the way out: whoever finds us dead wants to know why.
        helper.reply("died", describe(error))
        raise


if __name__ == "__main__":
    main()
