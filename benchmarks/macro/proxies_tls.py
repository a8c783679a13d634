"""The proxies as HTTPS gateways: the configurations of ``make bench`` with one P-256 certificate, TLS 1.2 and 1.3."""

from __future__ import annotations

import http.client
import json
import resource
import ssl
from dataclasses import dataclass
from typing import Any, ClassVar

import development_ca
import proxies
import rounds

HTTPS_PORT = 443
SETTINGS = {"max-connections": 16384, "idle-timeout": 600}


def answers(port: int) -> bool:
    """True when the benchmark's request over TLS, with the host as SNI, is answered with the origin's 128 bytes."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = _Connection("127.0.0.1", port, timeout=1, context=context)
    try:
        connection.request("GET", proxies.PATH, headers={"Host": proxies.HOST})
        response = connection.getresponse()
        return response.status == 200 and len(response.read()) == 128
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class _Connection(http.client.HTTPSConnection):
    """To the address, with the benchmark's host as SNI."""

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=proxies.HOST)


@dataclass
class Edge:
    """Starts proxies in front of the bench's origin with one credential."""

    credential: development_ca.Credential
    kind: ClassVar[str] = "tls"
    """The part of the templates' names that says which of a proxy's configurations it is."""

    def starters(self) -> dict[str, rounds.Starter]:
        return {"fastgw": self.fastgw, "nginx": self.nginx, "haproxy": self.haproxy, "envoy": self.envoy}

    def values(self, bench: proxies.Bench, port: int) -> dict[str, object]:
        """What is filled into templates."""
        return {
            "PORT": port,
            "ORIGIN": bench.origin_port,
            "CHAIN": self.credential.chain,
            "KEY": self.credential.key,
            "BOTH": self.credential.both,
            "DESCRIPTORS": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }

    def documents(self, bench: proxies.Bench) -> list[dict[str, Any]]:
        """What fastgw serves."""
        documents: list[dict[str, Any]] = proxies.gateway_documents(bench.origin_port)
        documents[0]["spec"]["servers"] = [
            {
                "port": {"number": HTTPS_PORT, "name": "https", "protocol": "HTTPS"},
                "hosts": [proxies.HOST, "*.example.com"],
                "tls": {"mode": "SIMPLE", "credentialName": self.credential.name},
            }
        ]
        return documents

    def _configure(self, proxy: str, suffix: str, bench: proxies.Bench, port: int) -> str:
        return proxies.fill_template(f"{proxy}-{self.kind}.{suffix}.in", bench.directory, self.values(bench, port))

    def nginx(self, bench: proxies.Bench) -> proxies.Server:
        port, program = proxies.free_port(), proxies.find_program("nginx")
        config = self._configure("nginx", "conf", bench, port)
        return bench.start("nginx", port, [program, "-c", config], bench.proxy_core, [program, "-v"], probe=answers)

    def haproxy(self, bench: proxies.Bench) -> proxies.Server:
        port, program = proxies.free_port(), proxies.find_program("haproxy")
        config = self._configure("haproxy", "cfg", bench, port)
        return bench.start("haproxy", port, [program, "-f", config], bench.proxy_core, [program, "-v"], probe=answers)

    def envoy(self, bench: proxies.Bench) -> proxies.Server:
        port, program = proxies.free_port(), proxies.find_program("envoy")
        config = self._configure("envoy", "yaml", bench, port)
        command = [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        return bench.start("envoy", port, command, bench.proxy_core, [program, "--version"], probe=answers)

    def fastgw(self, bench: proxies.Bench) -> proxies.Server:
        settings = bench.directory / "fastgw-settings.yaml"
        settings.write_text(json.dumps(SETTINGS))
        options = ["--secrets", str(self.credential.secrets), "--config", str(settings)]
        return proxies.run_fastgw(bench, self.documents(bench), {HTTPS_PORT: proxies.free_port()}, options, answers)
