"""Attacks as a run's own code would make them: each a name and a piece of Python that a run carries out.

A piece that ends has reached what it wanted. One that meets an error that a closed door gives is refused. All else is
broken, for a mistake in an attack must not look like safety. Each piece runs in a process of its own; what it does in
the database is rolled back, what it writes elsewhere is what was there: one that gets through leaves nothing.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

# Dagster's tables: what webserver and daemon alone write, and what a run writes as well.
SERVICES_TABLES = (
    "alembic_version", "asset_daemon_asset_evaluations", "backfill_tags", "bulk_actions", "daemon_heartbeats",
    "instance_info", "instigators", "job_ticks", "jobs", "kvs", "secondary_indexes", "snapshots",
)  # fmt: skip
SHARED_TABLES = (
    "asset_check_executions", "asset_event_tags", "asset_keys", "concurrency_limits", "concurrency_slots",
    "dynamic_partitions", "event_logs", "pending_steps", "run_tags", "runs",
)  # fmt: skip
# The tables from which a run gives back what it took.
EMPTIED_BY_RUNS = ("concurrency_limits", "concurrency_slots", "dynamic_partitions", "pending_steps")

PRELUDE = r'''
import ctypes, errno, fcntl, hashlib, json, os, platform, select, signal, socket, stat, struct, subprocess, sys, time
import psycopg2

class Held(Exception):
    """What the attack wanted is not there."""

DOORS = {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOSYS, errno.ENXIO}
WALLS = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}
# insufficient_privilege, invalid_authorization, invalid_password, invalid_grant_operation
CODES = {"42501", "28000", "28P01", "0LP01"}
WORDS = ("permission denied", "password authentication failed", "no pg_hba.conf entry", "no password supplied")

def is_refusal(error):
    if isinstance(error, (Held, socket.gaierror, TimeoutError)):
        return True
    if isinstance(error, psycopg2.Error):
        return error.pgcode in CODES or (error.pgcode is None and any(word in str(error) for word in WORDS))
    return isinstance(error, OSError) and error.errno in DOORS | WALLS

def connect(host, port, timeout=3):
    socket.create_connection((host, port), timeout=timeout).close()

def resolve(name):
    """Only what is of this deployment counts: a name server outside may know any name."""
    if socket.gethostbyname(name) not in T["addresses"]:
        raise Held(name)

def who_answers(places, seconds):
    """Those of the places, host and port, to which a connection comes about; some hundreds are asked at once."""
    places, found = list(places), []
    for start in range(0, len(places), 400):
        waiting = {}
        for place in places[start:start + 400]:
            own = socket.socket()
            own.setblocking(False)
            own.connect_ex(place)
            waiting[own] = place
        deadline = time.monotonic() + seconds
        while waiting and time.monotonic() < deadline:
            for own in select.select([], list(waiting), [], deadline - time.monotonic() + 0.01)[1]:
                place = waiting.pop(own)
                if not own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    found.append(place)
                own.close()
        for own in waiting:
            own.close()
    return found

def scan(host, ports):
    if not who_answers([(socket.gethostbyname(host), port) for port in ports], 3):
        raise Held(host)

def sweep(network):
    """Somebody on a network, among its first addresses."""
    start = T["networks"][network]["subnet"].split("/")[0].rsplit(".", 1)[0]
    places = [(f"{start}.{last}", port) for last in range(2, 22) for port in (2019, 3000, 4000, 5432, 8000)]
    if not who_answers(places, 5):
        raise Held(network)

def session(database="dagster", user=None, password=None, **how):
    return psycopg2.connect(host=os.environ["POSTGRES_HOST"], dbname=database, connect_timeout=5,
        user=user or os.environ["POSTGRES_USER"], password=password or os.environ["POSTGRES_PASSWORD"], **how)

def sql(statement, database="dagster", alone=False, **who):
    connection = session(database, **who)
    connection.autocommit = alone
    cursor = connection.cursor()
    cursor.execute(statement)
    found = cursor.fetchall() if cursor.description else None
    if not alone:
        connection.rollback()
    return found

def rows(statement, **how):
    if not sql(statement, **how):
        raise Held("no row")

def read(path):
    with open(path, "rb") as file:
        if not file.read(64):
            raise Held("empty")

def change(path, text=None):
    """Writes what is there already, so that nothing is changed if it may be."""
    try:
        text = text or open(path, "rb").read(4096)
    except OSError:
        text = b"1"
    os.write(os.open(path, os.O_WRONLY), text)

def exists(path):
    """There, and with something in it: images have empty folders for volumes that others mount."""
    if not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path)):
        raise Held(path)

def unix(path):
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(path)

libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
NUMBERS = {  # x86-64, ARM
    "getpid": (39, 172), "pivot_root": (155, 41), "mount": (165, 40), "umount2": (166, 39), "swapon": (167, 224),
    "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162), "init_module": (175, 105),
    "delete_module": (176, 106), "quotactl": (179, 60), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "syslog": (103, 116), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "unshare": (272, 97), "setns": (308, 268),
    "perf_event_open": (298, 241), "fanotify_init": (300, 262), "open_by_handle_at": (304, 265),
    "finit_module": (313, 273), "bpf": (321, 280), "userfaultfd": (323, 282), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fspick": (433, 433), "clone3": (435, 435),
    "mount_setattr": (442, 442), "personality": (135, 92), "vhangup": (153, 58), "mbind": (237, 235),
    "move_pages": (279, 239), "setgroups": (116, 159), "capset": (126, 91), "lookup_dcookie": (212, 18),
    "adjtimex": (159, 171), "chroot": (161, 51),
}

def call(name, *arguments):
    """A system call; what is no refusal but a complaint about its arguments has come through."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(NUMBERS[name][ARM]), *words) == -1:
        number = ctypes.get_errno()
        if number not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise RuntimeError(f"{name} came through to {errno.errorcode[number]}")
        raise OSError(number, name)

def as_child(name, *arguments):
    """A system call of which the child of a clone must not come back."""
    number = libc.syscall(ctypes.c_long(NUMBERS[name][ARM]), *arguments)
    if number == 0:
        os._exit(0)
    if number == -1:
        raise OSError(ctypes.get_errno(), name)

def netlink(family, kind, body):
    """A request to the kernel's network; raises what it answers."""
    own = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    own.sendto(struct.pack("=IHHII", 16 + len(body), kind, 0x0605, 1, 0) + body, (0, 0))
    answer = own.recv(8192)
    failed = -struct.unpack_from("=i", answer, 16)[0] if struct.unpack_from("=H", answer, 4)[0] == 2 else 0
    if failed:
        raise OSError(failed, os.strerror(failed))

def option(level, number, value):
    with socket.socket() as own:
        own.setsockopt(level, number, value)

def interface(request, content):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        fcntl.ioctl(own, request, struct.pack("16s16s8x", b"eth0", content))

def program(*command):
    """A program that ends well has done it."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    if done.returncode:
        raise Held(done.stderr.decode()[-80:])

def environments():
    """Every value that a process here was given."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield from open(f"/proc/{pid}/environ", errors="replace").read().split("\0")
        except OSError:
            continue

def secret(name):
    """Somebody's secret, in an environment or in a file that can be read."""
    values = {pair.partition("=")[2] for pair in environments()} | set(os.environ.values())
    for folder in ("/run", "/app", "/opt/dagster", "/etc", "/tmp", "/home", "/root", "/mnt", "/srv"):
        for base, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(base, file)
                try:
                    if os.stat(path).st_size < 4096 and stat.S_ISREG(os.stat(path).st_mode):
                        values.add(open(path, errors="replace").read().strip())
                except OSError:
                    continue
    if T["secrets"].get(name) not in {hashlib.sha256(value.encode()).hexdigest() for value in values}:
        raise Held(name)

def carry_out(name, code):
    signal.alarm(60)
    try:
        exec(compile(code, name, "exec"), dict(globals()))
        return f"REACHED {name}: {code}"
    except Exception as error:
        verdict = "refused" if is_refusal(error) else "broken"
        return " ".join(f"{verdict} {name}: {type(error).__name__} {error}".split())[:300]

def in_a_child(pair):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        os.write(writer, carry_out(*pair).encode())
        os._exit(0)
    os.close(writer)
    return pid, reader, pair[0]

def main(attacks):
    waiting, going = list(attacks.items()), []
    while waiting or going:
        while waiting and len(going) < 8:
            going.append(in_a_child(waiting.pop(0)))
        pid, reader, name = going.pop(0)
        answer = b"".join(iter(lambda: os.read(reader, 4096), b"")).decode()
        os.close(reader)
        os.waitpid(pid, 0)
        print(answer or f"broken {name}: ended without a word", flush=True)
'''

# The run's own process has threads and Dagster in it: attacks are made beside it, by a small one.
LAUNCH = """
import subprocess, sys
done = subprocess.run([sys.executable, "-"], input={source!r}, capture_output=True, text=True, timeout=400)
print(done.stdout)
print(done.stderr[-2000:])
"""


def source(attacks: Mapping[str, str], targets: Mapping[str, Any]) -> str:
    """What a run is given to make these attacks."""
    call = f"T = json.loads({json.dumps(targets)!r})\nmain(json.loads({json.dumps(dict(attacks))!r}))\n"
    return LAUNCH.format(source=PRELUDE + call)


def verdicts(printed: Iterable[str], attacks: Iterable[str]) -> dict[str, str]:
    """The line that each attack printed; "missing" for one that printed none."""
    lines = list(printed)
    starts = {name: tuple(f"{verdict} {name}: " for verdict in ("refused", "REACHED", "broken")) for name in attacks}
    return {name: next((line for line in lines if line.startswith(starts[name])), "missing") for name in starts}


def _each(name: str, code: str, values: Iterable[Any]) -> dict[str, str]:
    """One attack a value: {} in the name is what it is called, in the code what Python writes."""
    return {name.replace("{}", str(value)): code.replace("{}", repr(value)) for value in values}


ENGINE = {
    **_each("connect to a socket at {}", "unix({})", (
        "/run/podman/podman.sock", "/run/crio/crio.sock", "/run/buildkit/buildkitd.sock", "/run/user/0/docker.sock",
        "/run/user/1000/docker.sock", "/run/containerd/containerd.sock.ttrpc", "/run/dbus/system_bus_socket",
        "/run/systemd/private", "/run/snapd.socket", "/var/run/postgresql/.s.PGSQL.5432", "/run/broker/docker.sock",
        "/run/brokers/daemon/docker.sock", "/run/brokers/webserver/docker.sock", "/tmp/.X11-unix/X0",
    )),
    **_each("see {}", "exists({})", (
        "/var/lib/docker", "/var/lib/containerd", "/var/lib/postgresql", "/var/lib/backups",
        "/var/lib/dagster/audit", "/data/caddy", "/opt/dagster/access.yaml", "/opt/dagster/workspace.yaml",
        "/var/lib/location-logs", "/host", "/rootfs", "/.dockerenv.sock", "/var/lib/kubelet", "/lib/modules",
    )),
    "connect to an abstract socket of somebody": (
        "names = [line.split()[-1] for line in open('/proc/net/unix') if '@' in line]\n"
        "others = [name for name in names if not name.startswith('@redaction-')]\n"
        "if not others: raise Held('none')"
    ),
    "connect to the abstract socket of a container's shim": "unix('\\0/containerd-shim/moby/x/shim.sock@')",
    "find a socket in any folder": (
        "for base, folders, files in os.walk('/'):\n"
        "    folders[:] = [each for each in folders if os.path.join(base, each) not in ('/proc', '/sys', '/tmp')]\n"
        "    for file in files:\n"
        "        if stat.S_ISSOCK(os.lstat(os.path.join(base, file)).st_mode): break\n"
        "    else: continue\n"
        "    break\n"
        "else: raise Held('none')"
    ),
}  # fmt: skip

# Of these ports of the machine nothing is said if the machine's owner has something listen there on all addresses.
MACHINE_PORTS = {
    "ssh": 22, "Postgres": 5432, "a web server": 80, "the engine": 2375, "the engine by TLS": 2376, "a swarm": 2377,
    "the engine's metrics": 9323, "a registry": 5000, "a node's agent": 10250,
}  # fmt: skip
METADATA = {
    "a cloud's metadata": ("169.254.169.254", 80), "a task's credentials": ("169.254.170.2", 80),
    "a cloud's metadata by IPv6": ("fd00:ec2::254", 80), "metadata of Alibaba": ("100.100.100.200", 80),
    "metadata of Azure": ("168.63.129.16", 80), "metadata of Google by name": ("metadata.google.internal", 80),
}  # fmt: skip


def network(locations: Iterable[str]) -> dict[str, str]:
    """Attacks on what is beside a run in the network; the networks are those of a deployment of the tests."""
    others = [*locations, "broken", "edge", "backup", "database"]
    scanned = "tuple(range(1, 10001))"
    return {
        **_each("find somebody on the network {}", "sweep({})", others),
        **_each(
            "connect to Postgres by its address on the network {}", "connect(T['postgres'][{}], 5432)",
            [name for name in others if name not in ("edge", "backup")],
        ),
        **_each("reach the published port by the machine's address on the network {}",
                "connect(T['networks'][{}]['gateway'], T['published'])", [*others, "probe"]),
        **_each("reach the engine by the machine's address on the network {}",
                "connect(T['networks'][{}]['gateway'], 2375)", others),
        **_each("find out the address of {}", "resolve({})", (
            "backup", "run_broker", "migrate", "gateway", "webserver-edge", "broken", "sample_flight_api", *locations,
        )),
        **_each("find out the address of the machine as {}", "resolve({})", (
            "host.docker.internal", "gateway.docker.internal", "docker.for.mac.host.internal",
        )),
        "find an open port of the webserver": f"scan('webserver', {scanned})",
        "find an open port of the daemon": f"scan('daemon', {scanned})",
        "find an open port of Postgres beside its own": f"scan('postgres', set({scanned}) - {{5432}})",
        "reach the gateway's own settings": "connect(T['services']['gateway']['edge'], 2019)",
        "reach the backup": "scan(T['services']['backup']['backup'], (22, 80, 443, 8000, 8432, 8443))",
        "reach another location's code that does not load": "connect(T['services']['broken']['broken'], 4000)",
    }  # fmt: skip


MACHINE = {
    f"reach {name} on the machine, port {port}": f"connect(T['networks']['probe']['gateway'], {port})"
    for name, port in MACHINE_PORTS.items()
} | {f"reach {name}": f"connect({host!r}, {port})" for name, (host, port) in METADATA.items()}


def database(locations: Iterable[str]) -> dict[str, str]:
    """Attacks on the database: other roles, the server itself, and Dagster's own tables."""
    other, roles = next(iter(locations)), (*locations, "postgres", "dagster", "dagster_owner")
    alone = "sql({}, alone=True)"
    return {
        **_each("act as the role {}", "sql('set role ' + {})", [name for name in roles if name != "dagster_owner"]),
        **_each("be the session of {}", "sql('set session authorization ' + {})", roles),
        **_each("log in as {} with its own password", "session(user={})", roles),
        **_each("log in as {} without a password", "session(user={}, password=' ')", roles),
        **_each("let itself into the role {}", "sql('grant ' + {} + ' to probe')", roles),
        "be a replica": "session(user='probe', options='-c application_name=x', replication='true')",
        "copy the whole server as a backup would": (
            "import psycopg2.extras as extras\n"
            "session(connection_factory=extras.PhysicalReplicationConnection).cursor()"
        ),
        "follow what is written by a logical replica": (
            "sql(\"select pg_create_logical_replication_slot('x', 'test_decoding', true)\")"
        ),
        **_each("{}", "sql({})", (
            "alter role probe superuser", "alter role probe bypassrls", "alter role probe replication",
            "alter role probe connection limit -1", "alter role probe createrole", "alter role probe createdb",
            "create role x", "drop role broken", "alter role dagster password 'x'", "alter role postgres password 'x'",
            "alter role dagster in database dagster set search_path = x",
            "alter database dagster set session_preload_libraries = 'x'", "alter database dagster owner to probe",
            "alter database dagster connection limit 0", "alter database lake_broken owner to probe",
            "alter schema public owner to probe", "alter table runs owner to probe",
            "alter function guard_runs() owner to probe", "drop trigger guard_runs on runs",
            "drop trigger guard_run_deletes on runs",
            "create schema x", "create temporary table x (y int)", "create table public.runs_ (y int)",
            "create view public.x as select 1", "create type public.x as enum ('a')",
            "create domain public.x as text", "create sequence public.x",
            "create function public.x() returns int language sql as 'select 1'",
            "create function public.x() returns int language plpgsql security definer as 'begin return 1; end'",
            "create operator public.+ (leftarg = text, rightarg = text, function = textcat)",
            "create function public.x() returns int language c as 'x', 'x'", "create extension file_fdw",
            "create extension postgres_fdw", "create foreign data wrapper x",
            "create event trigger x on ddl_command_start execute function guard_runs()",
            "create publication x for all tables",
            "create trigger x after insert on runs execute function guard_runs()",
            "create rule x as on insert to event_logs do nothing", "create policy x on runs using (true)",
            "alter table event_logs enable row level security", "create index x on runs (run_id)",
            "alter default privileges for role dagster_owner grant all on tables to probe",
            "comment on table runs is 'x'",
            "alter sequence event_logs_id_seq restart", "select setval('event_logs_id_seq', 1)",
            "copy (select 1) to '/tmp/x'", "copy kvs from '/etc/passwd'", "copy kvs from program 'id'",
            "select lo_import('/etc/passwd')", "select lo_export(1, '/tmp/x')",
            "select pg_read_binary_file('PG_VERSION')",
            "select pg_ls_dir('.')", "select pg_stat_file('PG_VERSION')", "select pg_ls_waldir()",
            "select pg_ls_logdir()", "select pg_reload_conf()", "select pg_rotate_logfile()", "select pg_switch_wal()",
            "select pg_create_restore_point('x')", "select pg_backup_start('x')", "select pg_promote()",
            "select * from pg_shadow", "select * from pg_user_mapping",
            "select * from pg_hba_file_rules", "select * from pg_file_settings", "select * from pg_statistic",
            "select * from pg_subscription", "select * from pg_largeobject",
            "select pg_replication_origin_create('x')", "select pg_drop_replication_slot('x')",
            "select pg_stat_reset()", "select pg_stat_reset_shared('wal')", "set log_statement = 'none'",
            "set session_preload_libraries = 'x'", "set log_min_messages = 'panic'", "set zero_damaged_pages = on",
            "set allow_system_table_mods = on", "set lo_compat_privileges = on", "set track_activities = off",
            "select provisioning.mend('probe')", "select * from provisioning.lake_clones",
            "insert into provisioning.backup_requests default values",
        )),
        # Postgres only warns of these: what counts is what holds after them.
        **_each("{}", "rows({})", (
            "grant all on runs to public; select 1 where has_table_privilege('broken', 'runs', 'delete')",
            "grant insert on kvs to probe; select 1 where has_table_privilege('probe', 'kvs', 'insert')",
            "grant connect on database dagster to public; "
            "select 1 where has_database_privilege('pg_monitor', 'dagster', 'connect')",
            "revoke all on runs from dagster; select 1 where not has_table_privilege('dagster', 'runs', 'select')",
            "revoke usage on schema public from dagster; "
            "select 1 where not has_schema_privilege('dagster', 'public', 'usage')",
        )),
        **_each("alone: {}", alone, (
            "alter system set listen_addresses = '*'", "alter system set shared_preload_libraries = 'x'",
            "alter system set archive_command = 'id'", "create database x", "create database x template lake_broken",
            "drop database lake_broken", f"drop database lake_{other}", "create tablespace x location '/tmp'",
            "checkpoint", "reindex system dagster",
        )),
        **_each("end a session of {}", (
            "rows(\"select pg_terminate_backend(pid) from pg_stat_activity where usename = \" + repr({}))"
        ), ("dagster",)),
        "cancel a statement of the services": (
            "rows(\"select pg_cancel_backend(pid) from pg_stat_activity where usename = 'dagster'\")"
        ),
        "read what others ask": (
            "rows(\"select 1 from pg_stat_activity where usename <> current_user "
            "and query not in ('', '<insufficient privilege>')\")"
        ),
        "read a setting that names a file": "rows(\"select setting from pg_settings where name = 'hba_file'\")",
        "read a role's password by a view": "rows(\"select 1 from pg_roles where rolpassword <> '********'\")",
        **_each("write the table {}", "sql('insert into ' + {} + ' default values')", SERVICES_TABLES),
        **_each("change the table {}", (
            "[[column]] = sql(\"select attname from pg_attribute where attnum = 1 and attrelid = '\" + {}"
            " + \"'::regclass\")\nsql('update ' + {} + f' set {column} = {column}')"
        ), SERVICES_TABLES),
        **_each("delete from the table {}", "sql('delete from ' + {})", (
            *SERVICES_TABLES, *(name for name in SHARED_TABLES if name not in (*EMPTIED_BY_RUNS, "runs", "event_logs")),
        )),
        **_each("empty the table {}", "sql('truncate ' + {} + ' cascade')", (
            *SERVICES_TABLES, *(name for name in SHARED_TABLES if name != "event_logs"),
        )),
        **_each("drop the table {}", "sql('drop table ' + {} + ' cascade')", (
            *SERVICES_TABLES, *(name for name in SHARED_TABLES if name != "runs"),
        )),
        **{
            f"lock others out of the table {name}, {mode}": f"sql('lock table {name} in {mode} mode')"
            for name in (*SERVICES_TABLES, *SHARED_TABLES)
            if name not in EMPTIED_BY_RUNS
            for mode in ("row share", "row exclusive", "share", "exclusive", "access exclusive")
        },
        **_each("choose the number of a row in {}", "sql('insert into ' + {} + ' (id) values (9223372036854775807)')", (
            name for name in SHARED_TABLES if name != "runs"
        )),
        **_each("number the rows of {} anew", "sql('update ' + {} + ' set id = id + 1000')", SHARED_TABLES),
        **_each("use up the numbers of {}", "sql('select nextval(' + repr({} + '_id_seq') + ')')", (
            "bulk_actions", "instigators", "job_ticks", "jobs", "runs", "snapshots",
        )),
        **_each("wipe assets by {}", "sql('update asset_keys set ' + {} + ' = null')", (
            "wipe_timestamp", "asset_details", "asset_key", "create_timestamp",
        )),
    }  # fmt: skip


# Writing these would change the machine, or have it start a program.
KERNEL_SETTINGS = (
    "kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/domainname", "kernel/randomize_va_space",
    "kernel/kptr_restrict", "kernel/dmesg_restrict", "kernel/perf_event_paranoid", "kernel/sysrq", "kernel/panic",
    "kernel/threads-max", "kernel/pid_max", "kernel/ns_last_pid", "kernel/shmmax", "vm/overcommit_memory",
    "vm/drop_caches", "vm/panic_on_oom", "vm/nr_hugepages", "vm/swappiness", "fs/file-max", "fs/suid_dumpable",
    "fs/protected_symlinks", "fs/protected_hardlinks", "fs/protected_fifos", "fs/inotify/max_user_watches",
    "net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/ping_group_range", "net/core/somaxconn", "user/max_user_namespaces",
)  # fmt: skip
KERNEL_READS = (
    "/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/slabinfo",
    "/proc/vmallocinfo", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/dev/mem", "/dev/kmem",
    "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", "/dev/loop-control", "/dev/fuse",
    "/dev/net/tun", "/dev/kvm", "/dev/cuse", "/dev/vhost-net", "/dev/uinput", "/dev/console", "/dev/tty",
    "/dev/disk/by-uuid", "/etc/shadow", "/etc/gshadow", "/root/.bashrc", "/proc/1/root/etc/shadow",
)  # fmt: skip
KERNEL_WRITES = (
    "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/class/net/eth0/mtu", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max",
    "/sys/fs/cgroup/cgroup.subtree_control", "/sys/fs/cgroup/cgroup.freeze", "/sys/fs/cgroup/release_agent",
    "/sys/fs/cgroup/notify_on_release", "/sys/kernel/debug/x", "/sys/kernel/security/x",
    "/proc/irq/default_smp_affinity", "/proc/mtrr", "/proc/fs/x", "/proc/bus/x", "/proc/self/uid_map",
    "/proc/self/setgroups",
    "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/ld.so.preload", "/app/src/probe/definitions.py",
    "/opt/venv/bin/python", "/opt/libraries/x", "/usr/bin/mount", "/bin/sh", "/dev/null.x",
)  # fmt: skip
NAMESPACES = {"user": 0x10000000, "mount": 0x20000, "network": 0x40000000, "host name": 0x4000000, "IPC": 0x8000000,
              "control group": 0x2000000, "time": 0x80}  # fmt: skip

KERNEL = {
    **_each("set the kernel's {}", "change('/proc/sys/' + {})", KERNEL_SETTINGS),
    **_each("read {}", "read({})", KERNEL_READS),
    **_each("write {}", "change({})", KERNEL_WRITES),
    **{f"make a {name} namespace of its own": f"call('unshare', {flag})" for name, flag in NAMESPACES.items()},
    "start a process in a user namespace": f"as_child('clone3', (ctypes.c_uint64 * 8)({0x10000000}), 64)",
    "make a user namespace by the program for it": "program('unshare', '--user', '--map-root-user', 'id')",
    **_each("enter the namespace {} of the first process", (
        "call('setns', os.open('/proc/1/ns/' + {}, os.O_RDONLY), 0)"
    ), ("mnt", "net", "ipc", "uts", "cgroup")),
    "see a process of another container": (
        "own = os.stat('/proc/self/ns/pid').st_ino\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: other = os.stat(f'/proc/{pid}/ns/pid').st_ino\n"
        "    except (FileNotFoundError, ProcessLookupError): continue\n"
        "    if other != own: break\n"
        "else: raise Held('none')"
    ),
    "see a process of another user": (
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: owner = os.stat(f'/proc/{pid}').st_uid\n"
        "    except FileNotFoundError: continue\n"
        "    if owner != os.getuid(): break\n"
        "else: raise Held('none')"
    ),
    "mount a folder over another": "call('mount', b'/tmp', b'/tmp', b'none', 4096, None)",
    "mount a second /proc": "call('mount', b'proc', b'/tmp', b'proc', 0, None)",
    "mount a second /sys": "call('mount', b'sysfs', b'/tmp', b'sysfs', 0, None)",
    "mount the control groups": "call('mount', b'none', b'/tmp', b'cgroup2', 0, None)",
    "mount the machine's disk": "call('mount', b'/dev/vda', b'/tmp', b'ext4', 0, None)",
    "mount an overlay": "call('mount', b'none', b'/tmp', b'overlay', 0, b'lowerdir=/,upperdir=/tmp,workdir=/tmp')",
    "make the root writable": "call('mount', b'none', b'/', b'none', 32, None)",
    "make /proc/sys writable": "call('mount', b'none', b'/proc/sys', b'none', 4128, None)",
    "make its mounts shared": "call('mount', b'none', b'/', b'none', 1 << 20, None)",
    **_each("take {} away", "call('umount2', {}.encode(), 2)", (
        "/proc/acpi", "/proc/sys", "/run/secrets/database_password",
    )),
    "be the last to be killed for memory": "change('/proc/self/oom_score_adj', b'-1000')",
    "mount by the program for it": "program('mount', '-t', 'tmpfs', 'none', '/tmp')",
    "become root by the program for it": "program('su', '-c', 'id')",
    "swap the root": "call('pivot_root', b'/tmp', b'/tmp')",
    "open a file system": "call('fsopen', b'tmpfs', 0)",
    "pick a file system": "call('fspick', -100, b'/', 0)",
    "copy a mount": "call('open_tree', -100, b'/', 1)",
    "move a mount": "call('move_mount', -100, b'/tmp', -100, b'/tmp', 0)",
    "change a mount": "call('mount_setattr', -100, b'/', 0, (ctypes.c_uint64 * 4)(0, 1), 32)",
    "open a file by its number on the disk": (
        "handle = struct.pack('=IiQ', 8, 1, 2)\ncall('open_by_handle_at', os.open('/var/lib/lake/probe', 0), handle, 0)"
    ),
    "load another kernel": "call('kexec_load', 0, 0, None, 0)",
    "load another kernel from a file": "call('kexec_file_load', 0, 0, 0, None, 0)",
    "load a module": "call('init_module', b'x', 1, b'')",
    "load a module from a file": "call('finit_module', 0, b'', 0)",
    "take a module away": "call('delete_module', b'x', 0)",
    "end the machine": "call('reboot', 0, 0, 0, None)",
    "set the clock": "call('clock_settime', 0, (ctypes.c_long * 2)(int(time.time()), 0))",
    "set the clock as of old": "call('settimeofday', (ctypes.c_long * 2)(int(time.time()), 0), None)",
    "turn the clock": "call('adjtimex', (ctypes.c_uint * 64)(0x4000))",
    "rename the machine": "call('sethostname', b'x', 1)",
    "rename the machine's domain": "call('setdomainname', b'x', 1)",
    "swap to a file": "call('swapon', b'/tmp/x', 0)",
    "account for processes": "call('acct', b'/tmp/x')",
    "read the kernel's log": "call('syslog', 3, ctypes.create_string_buffer(64), 64)",
    "set quotas": "call('quotactl', 0x80000200, None, 0, None)",
    "put a key into the kernel": "call('add_key', b'user', b'x', b'x', 1, -5)",
    "ask for a key": "call('request_key', b'user', b'x', None, -5)",
    "read the session's keys": "call('keyctl', 0, -3, 1)",
    "load a program into the kernel": "call('bpf', 5, (ctypes.c_uint64 * 16)(), 128)",
    "make a map in the kernel": "call('bpf', 0, (ctypes.c_uint32 * 16)(1, 4, 4, 1), 64)",
    "watch the processor's events": "call('perf_event_open', (ctypes.c_uint64 * 16)(), 0, -1, -1, 0)",
    "watch all files": "call('fanotify_init', 0, 0)",
    "handle page faults of the kernel": "call('userfaultfd', 0)",
    "run without randomised addresses": "call('personality', 0x40000)",
    "hang up the terminal": "call('vhangup')",
    "bind memory to a node": "call('mbind', 0, 0, 0, None, 0, 0)",
    "move another's pages": "call('move_pages', 1, 0, None, None, None, 0)",
    "look a path up by its cookie": "call('lookup_dcookie', 1, None, 0)",
    "be a member of root's group": "os.setgid(0)",
    "be a member of the engine's group": "os.setgroups([0, 999])",
    "be root again by saved numbers": "os.setresuid(0, 0, 0)",
    "take capabilities": (
        "call('capset', (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(0xffffffff, 0xffffffff))"
    ),
    "keep a capability over exec": "if libc.prctl(47, 2, 21, 0, 0): raise OSError(ctypes.get_errno(), 'ambient')",
    "go before others": "os.setpriority(os.PRIO_PROCESS, 0, -20)",
    "be scheduled in real time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))",
    "give a file of its own to root": "open('/tmp/own', 'w').close(); os.chown('/tmp/own', 0, 0)",
    "make a device in its log volume": "os.mknod('/var/lib/dagster/logs/x', 0o20666, os.makedev(1, 1))",
    "make a device in its lake": "os.mknod('/var/lib/lake/probe/x', 0o60666, os.makedev(254, 0))",
    "run a program from /tmp": (
        "open('/tmp/program', 'w').write('#!/bin/sh\\n'); os.chmod('/tmp/program', 0o755); program('/tmp/program')"
    ),
    "run a program from shared memory": (
        "open('/dev/shm/program', 'w').write('#!/bin/sh\\n'); os.chmod('/dev/shm/program', 0o755)\n"
        "program('/dev/shm/program')"
    ),
    "see shared memory of another container": (
        "if not {*os.listdir('/dev/shm')} - {'program', 'bomb'}: raise Held('none')"
    ),
    "see a queue of messages of another container": "if not os.listdir('/dev/mqueue'): raise Held('none')",
    "see a System V segment of another container": (
        "if len(open('/proc/sysvipc/shm').readlines()) < 2: raise Held('none')"
    ),
    "listen to packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300)",
    "write packets of its own": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)",
    "send pings of its own making": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "listen to packets by IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)",
    "take another's address": (
        "index = socket.if_nametoindex('eth0')\n"
        "netlink(0, 20, struct.pack('=BBBBI', 2, 24, 0, 0, index) + struct.pack('=HH4s', 8, 2, bytes([10, 9, 8, 7])))"
    ),
    "take its interface down": "netlink(0, 16, struct.pack('=BxHiII', 0, 0, socket.if_nametoindex('eth0'), 0, 1))",
    "route packets elsewhere": (
        "netlink(0, 24, struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 3, 0, 1, 0)"
        " + struct.pack('=HHI', 8, 4, socket.if_nametoindex('eth0')))"
    ),
    "make an interface": "netlink(0, 16, struct.pack('=BxHiIIHH4s', 0, 0, 0, 0, 0, 8, 3, b'x0'))",
    "make a rule for packets": "netlink(12, 0xa00, struct.pack('=BBHHH4s', 2, 0, 0, 8, 1, b'x'))",
    "mark its packets": "option(socket.SOL_SOCKET, 36, 1)",
    "answer for any address": "option(socket.IPPROTO_IP, 19, 1)",
    "take a connection's state over": "option(socket.IPPROTO_TCP, 19, 1)",
    "widen its buffers beyond the limit": "option(socket.SOL_SOCKET, 33, 1 << 30)",
    "change its interface's flags": "interface(0x8914, struct.pack('=H', 0))",
    "change its interface's address": "interface(0x8916, struct.pack('=HH4s', 2, 0, bytes([10, 9, 8, 7])))",
    "change its interface's hardware address": "interface(0x8924, struct.pack('=H6s', 1, bytes(6)))",
}  # fmt: skip

# The volume of a run is shared by runs and code server of its location; a bomb stays within the run's own limits.
LIMITS = {
    "open files without end": (
        "try:\n    kept = [os.open('/dev/null', 0) for _ in range(2_000_000)]\n"
        "except OSError as error:\n    if error.errno != errno.EMFILE: raise\n    raise Held('EMFILE')"
    ),
    "fill shared memory": (
        "try:\n    with open('/dev/shm/bomb', 'wb') as file:\n"
        "        for _ in range(1024): file.write(bytes(1 << 20))\n"
        "except OSError as error:\n    if error.errno != errno.ENOSPC: raise\n    raise Held('ENOSPC')\n"
        "finally:\n    os.unlink('/dev/shm/bomb')"
    ),
    "lock memory": (
        "import mmap, resource\nlimit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]\n"
        "if limit in (-1, resource.RLIM_INFINITY): raise Held('bounded by the memory limit')\n"
        "area = mmap.mmap(-1, limit + (1 << 20))\n"
        "if libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area))), limit + (1 << 20)):\n"
        "    raise Held(errno.errorcode[ctypes.get_errno()])"
    ),
}

# Each makes sure that a kind of attack would be noticed if it got through.
CONTROLS = {
    "control: connect to the database": "connect('postgres', 5432)",
    "control: connect to its own code server": "connect('probe', 4000)",
    "control: find an open port of its own code server": "scan('probe', (3999, 4000))",
    "control: find out an address": "resolve('postgres')",
    "control: find somebody on its own network": "sweep('probe')",
    "control: read a row": "rows('select 1')",
    "control: write a table that is its own": "sql('create table x (y int)', database='lake_probe')",
    "control: add a partition": (
        "sql(\"insert into dynamic_partitions (partitions_def_name, partition) values ('x', 'y')\")"
    ),
    "control: make a system call": "call('getpid')",
    "control: read a file": "read('/etc/passwd')",
    "control: change a file": "open('/tmp/changed', 'w').close(); change('/tmp/changed')",
    "control: start a program": "program('id')",
    "control: ask the kernel's network": (
        "netlink(0, 18, struct.pack('=BxHiII', 0, 0, socket.if_nametoindex('eth0'), 0, 0))"
    ),
    "control: set an option of a socket": "option(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
    "control: find its own secret": "secret('probe_database_password')",
    "control: connect to a socket": (
        "server = socket.socket(socket.AF_UNIX)\nserver.bind('/tmp/control.sock')\nserver.listen()\n"
        "unix('/tmp/control.sock')"
    ),
    "control: see a path": "exists('/etc/passwd')",
}  # fmt: skip


def secrets(names: Iterable[str]) -> dict[str, str]:
    """Of each secret of the deployment but the location's own, whether it is somewhere here."""
    return _each("have the secret {}", "secret({})", names)


_EVENT = (
    "sql('''insert into event_logs (run_id, event, dagster_event_type, timestamp) values "
    "('{column}', '{{\"run_id\": \"{told}\"}}', '{kind}', now())''')"
)
_KINDS = (
    "PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED", "PIPELINE_START", "STEP_SUCCESS", "STEP_FAILURE",
    "ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION", "ENGINE_EVENT", "LOGS_CAPTURED",
)  # fmt: skip
_NO_RUN = "00000000-0000-4000-8000-000000000000"
_OWN = "(select run_id from runs where pipeline_name = 'attack' and status = 'STARTED' order by id desc limit 1)"
_CHECK = (
    'sql("insert into asset_check_executions (asset_key, check_name, run_id, execution_status) '
    "values ('x', 'y', '{run}', 'FAILED')\")"
)
FORGED = {
    **{f"tell {kind} of another's run": _EVENT.format(column="OTHER", told="OTHER", kind=kind) for kind in _KINDS},
    "tell of a run that does not exist": _EVENT.format(column=_NO_RUN, told=_NO_RUN, kind="ENGINE_EVENT"),
    "tell of another's run in an event of no run": _EVENT.format(column="", told="OTHER", kind="ASSET_OBSERVATION"),
    "fail no run at all": _EVENT.format(column="", told="", kind="PIPELINE_FAILURE"),
    "tell of another's run in an event of its own": (
        "sql('''insert into event_logs (run_id, event, dagster_event_type) select run_id, "
        f"'{{\"run_id\": \"OTHER\"}}', 'PIPELINE_FAILURE' from {_OWN} as own''')"
    ),
    "put what is told later behind an event of its own": (
        "sql('''insert into event_logs (id, run_id, event) select 9223372036854775807, run_id, "
        f"json_build_object('run_id', run_id) from {_OWN} as own''')"
    ),
    "copy events in bulk": (
        "import io\nsession().cursor().copy_expert('copy event_logs (run_id, event) from stdin', "
        "io.StringIO('OTHER\\t{\"run_id\": \"OTHER\"}\\n'))"
    ),
    **{
        f"say what a check of {whose} has come to": _CHECK.format(run=run)
        for whose, run in {"another's run": "OTHER", "a run that does not exist": _NO_RUN}.items()
    },
    "give another's check to its own run": (
        f"sql(\"update asset_check_executions set run_id = {_OWN} where run_id = 'OTHER'\")"
    ),
    "rewrite what another's run has told": "sql(\"update event_logs set event = '' where run_id = 'OTHER'\")",
    "tag another's run": "sql(\"insert into run_tags (run_id, key, value) values ('OTHER', 'x', 'y')\")",
    "change a tag of another's run": "sql(\"update run_tags set value = 'x' where run_id = 'OTHER'\")",
    "rename the user of another's run": (
        "sql(\"update run_tags set value = 'x' where run_id = 'OTHER' and key = 'user'\")"
    ),
    "take a tag from another's run": (
        f"sql(\"update run_tags set run_id = {_OWN} where run_id = 'OTHER'\")"
    ),
    "put another's run into a backfill": (
        "sql(\"insert into run_tags (run_id, key, value) values ('OTHER', 'dagster/backfill', 'x')\")"
    ),
    **{
        f"make another's run {status}": f"sql(\"update runs set status = '{status}' where run_id = 'OTHER'\")"
        for status in ("NOT_STARTED", "STARTING", "STARTED", "CANCELING", "CANCELED", "FAILURE")
    },
    "date another's run": "sql(\"update runs set start_time = 0, end_time = 1 where run_id = 'OTHER'\")",
    "give another's run another number": "sql(\"update runs set run_id = 'x' where run_id = 'OTHER'\")",
    "delete another's run": "sql(\"delete from runs where run_id = 'OTHER'\")",
    "delete what another's run has told": "sql(\"delete from event_logs where run_id = 'OTHER'\")",
    "ask for another's run as the daemon would": (
        "rows(\"update runs set status = 'QUEUED' where run_id = 'OTHER' returning 1\")"
    ),
}  # fmt: skip
FORGING_CONTROLS = {
    "control: tell of its own run": (
        "rows('''insert into event_logs (run_id, event, dagster_event_type) select run_id, "
        f"json_build_object('run_id', run_id), 'ENGINE_EVENT' from {_OWN} as own returning 1''')"
    ),
    "control: tag its own run": (
        f"rows('''insert into run_tags (run_id, key, value) select run_id, 'x', 'y' from {_OWN} as own returning 1''')"
    ),
    "control: say what a check of its own has come to": (
        "rows('''insert into asset_check_executions (asset_key, check_name, run_id, execution_status) "
        f"select 'x', 'y', run_id, 'FAILED' from {_OWN} as own returning 1''')"
    ),
    "control: see another's run": "rows(\"select 1 from runs where run_id = 'OTHER'\")",
}  # fmt: skip


def forged(run_id: str) -> dict[str, str]:
    """Attacks on what another location's run has told, by its id, and what they are held against."""
    return {name: code.replace("OTHER", run_id) for name, code in {**FORGED, **FORGING_CONTROLS}.items()}
