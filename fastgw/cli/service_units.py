"""The texts of systemd units for a gateway: service, sockets, user, directories. ``install-service`` writes them.

They need systemd 250 (Debian 12, Ubuntu 22.04 has 249: there ``LoadCredential`` of a directory is not known, everything else is).
"""

from __future__ import annotations

import msgspec

LOW_PORTS = 1024


class Socket(msgspec.Struct, frozen=True):
    """A socket unit: ``name`` is the Gateway's port name that it is for."""

    name: str
    port: int


class Units(msgspec.Struct, kw_only=True):
    """What can be chosen. ``credentials``: (name, path) of a directory or file that only root can read."""

    name: str = "fastgw"
    command: str = "/usr/bin/fastgw"
    config: str = "/etc/fastgw/fastgw.yaml"
    sockets: tuple[Socket, ...] = ()
    credentials: tuple[tuple[str, str], ...] = ()
    low_ports: bool = True
    """Shall the gateway open ports below 1024 itself? It needs a capability for that."""
    drain_s: float = 45.0

    def files(self) -> dict[str, str]:
        """Path below the root -> text."""
        found = {f"etc/systemd/system/{self.name}.service": self.service()}
        for one in self.sockets:
            found[f"etc/systemd/system/{self.name}-{one.name}.socket"] = self.socket(one)
        found[f"etc/sysusers.d/{self.name}.conf"] = self.sysusers()
        found[f"etc/tmpfiles.d/{self.name}.conf"] = self.tmpfiles()
        return found

    def service(self) -> str:
        units = "".join(f"Wants={self.name}-{one.name}.socket\nAfter={self.name}-{one.name}.socket\n" for one in self.sockets)
        credentials = "".join(f"LoadCredential={name}:{path}\n" for name, path in self.credentials)
        needs_low = self.low_ports and not (self.sockets and all(one.port for one in self.sockets))
        capability = "CAP_NET_BIND_SERVICE" if needs_low else ""
        return _SERVICE.format(
            command=f"{self.command} run --config {self.config}",
            units=units,
            sockets="".join(f"Sockets={self.name}-{one.name}.socket\n" for one in self.sockets),
            credentials=credentials or _NO_CREDENTIALS,
            capability=capability,
            user=self.name,
            stop_s=f"{self.drain_s + 30:g}",
        )

    def socket(self, one: Socket) -> str:
        return _SOCKET.format(unit=self.name, name=one.name, port=one.port)

    def sysusers(self) -> str:
        return f'# The user that the gateway runs as.\nu {self.name} - "fastgw edge gateway" /var/lib/{self.name} -\n'

    def tmpfiles(self) -> str:
        return (
            "# Configuration is root's, and readable for the gateway; private keys are better given with LoadCredential=.\n"
            f"d /etc/{self.name} 0755 root root -\n"
            f"d /etc/{self.name}/resources 0755 root root -\n"
            f"d /etc/{self.name}/credentials 0700 root root -\n"
        )


_NO_CREDENTIALS = """\
# Certificates that only root can read: each directory holds tls.crt and tls.key, as in a Secret; NAME is the credentialName.
#LoadCredential=NAME:/etc/fastgw/credentials/NAME
"""

_SERVICE = """\
[Unit]
Description=fastgw edge gateway
Documentation=man:fastgw(1)
After=network-online.target nss-lookup.target
Wants=network-online.target
# What it needs may come late: it is never given up.
StartLimitIntervalSec=0
{units}
[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
# Files are noticed without this; it reads everything again, ticket keys too. An upgrade without loss: systemctl kill -s USR2
ExecReload=/bin/kill -HUP $MAINPID
{sockets}# Listening sockets, counters and ticket keys wait here while the service is restarted.
FileDescriptorStoreMax=4096
WatchdogSec=30
TimeoutStartSec=120
# The drain (drain-time, lame-duck) and some more.
TimeoutStopSec={stop_s}
# The gateway tells its workers itself.
KillMode=mixed
Restart=always
RestartSec=1
# Settings that cannot be used stay so: that waits for somebody.
RestartPreventExitStatus=2
LimitNOFILE=1048576
OOMPolicy=continue

User={user}
Group={user}
StateDirectory={user}
LogsDirectory={user}
RuntimeDirectory={user}
UMask=0027
{credentials}
AmbientCapabilities={capability}
CapabilityBoundingSet={capability}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_SOCKET = """\
[Unit]
Description=fastgw edge gateway, port {port}

[Socket]
ListenStream=0.0.0.0:{port}
ListenStream=[::]:{port}
BindIPv6Only=ipv6-only
# The name of the Gateway's port that this socket is for.
FileDescriptorName={name}
Service={unit}.service
Backlog=4096
NoDelay=yes

[Install]
WantedBy=sockets.target
"""
