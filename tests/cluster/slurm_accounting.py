"""Accounting for the throw-away Slurm: mariadbd and slurmdbd in its folder. Needs Debian's slurmdbd and mariadb-server.

Where these are unpacked instead of installed, PATH and LD_LIBRARY_PATH name their folders, and SLURM_PLUGINS that of
accounting_storage_mysql.so.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster.slurm_testbed import SEARCH_PATH, SlurmTestbed, free_ports

DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost=localhost
DbdPort={port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=loopback-only
StorageLoc=slurm_acct_db
{plugins}
"""
NONE = "AccountingStorageType=accounting_storage/none"
SLURMDBD = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.sock
"""
# One statement a line, as mariadbd wants it; it calls 127.0.0.1 localhost where that can be looked up.
USER = "".join(
    f"CREATE USER 'slurm'@'{host}' IDENTIFIED BY 'loopback-only';\nGRANT ALL ON slurm_acct_db.* TO 'slurm'@'{host}';\n"
    for host in ("127.0.0.1", "localhost")
)


def reason_to_skip() -> str:
    """Why there can be no accounting here; empty when there can."""
    missing = [
        name for name in ("mariadbd", "mariadb-install-db", "slurmdbd") if not shutil.which(name, path=SEARCH_PATH)
    ]
    return (
        f"{missing[0]} is missing: apt-get install --no-install-recommends slurmdbd mariadb-server" if missing else ""
    )


class Accounting:
    """A database and slurmdbd for ``slurm``, which is restarted with them."""

    def __init__(self, slurm: SlurmTestbed) -> None:
        self.slurm, self.folder = slurm, slurm.folder
        self.port, self.database_port = free_ports(2)
        self.database: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start both, and let the controller use them."""
        self.start_database()
        plugins = os.environ.get("SLURM_PLUGINS", "")
        text = DATABASE.format(
            folder=self.folder,
            port=self.port,
            database_port=self.database_port,
            plugins=f"PluginDir=/usr/lib/x86_64-linux-gnu/slurm-wlm:{plugins}" if plugins else "",
        )
        configuration = self.folder / "slurmdbd.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(text)
        self.slurm.stop_controller()
        conf = self.slurm.conf.read_text()
        self.slurm.conf.write_text(conf.replace(NONE, SLURMDBD.format(folder=self.folder, port=self.port)))
        self.start_daemon()
        for words in ("cluster testbed", "account default", "user root Account=default"):
            self.slurm.ask("sacctmgr", "-i", "add", *words.split())
        self.slurm.start_controller()

    def start_database(self) -> None:
        """Start an empty database that listens on the loopback interface."""
        data, socket = self.folder / "database", self.folder / "database.sock"
        basic = shutil.which("mariadb-install-db", path=SEARCH_PATH)
        options = ["--no-defaults", f"--datadir={data}", "--user=root"]
        base = [f"--basedir={Path(str(basic)).parents[1]}"]
        create = [str(basic), *options, *base, "--auth-root-authentication-method=socket", "--skip-test-db"]
        subprocess.run(create, env=self.slurm.environment, check=True, stdout=subprocess.DEVNULL)
        initial = self.folder / "user.sql"
        initial.write_text(USER)
        command = [
            str(shutil.which("mariadbd", path=SEARCH_PATH)),
            *options,
            f"--socket={socket}",
            f"--init-file={initial}",
        ]
        command += [f"--port={self.database_port}", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M"]
        with (self.folder / "database.log").open("wb") as log:
            self.database = subprocess.Popen(command, env=self.slurm.environment, stdout=log, stderr=log)
        self.slurm.wait(socket.exists, "mariadbd")

    def start_daemon(self) -> None:
        """Start slurmdbd, or bring it back."""
        self.slurm.daemon("slurmdbd")
        self.slurm.wait(lambda: "Cluster" in self.slurm.ask("sacctmgr", "list", "cluster"), "slurmdbd")

    def stop_daemon(self) -> None:
        """End slurmdbd as for maintenance."""
        self.slurm.end(self.folder / "slurmdbd.pid")

    def stop(self) -> None:
        """End both."""
        self.stop_daemon()
        if self.database:
            self.database.kill()
            self.database.wait()
