"""Where credentials are looked for: Secret and ConfigMap documents of the gateway's namespace, mounted directories, files."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping

import msgspec

from fastgw.credentials.content import (
    CA_KEYS,
    CRL_KEYS,
    PAIRS,
    Content,
    CredentialError,
    CredentialMissing,
    content_of_entries,
    has_ca,
)
from fastgw.credentials.names import (
    CA_SUFFIX,
    CONFIG_MAP,
    FILE_CA,
    FILE_CERTIFICATE,
    KUBERNETES,
    MESH,
    Need,
    split_owner,
    split_paths,
)
from fastgw.credentials.stamped_files import StampedFiles
from fastgw.model.kinds.kubernetes import Secret
from fastgw.model.names import domain_problem
from fastgw.model.resource import Resource

DATA_LINK = "..data"
"""What Kubernetes exchanges when the content of a mounted Secret changes: a link to a directory with all of it."""
DEFAULT_MESH_DIRECTORY = "/etc/certs"
_MOUNTED = frozenset((*CA_KEYS, *CRL_KEYS, *(key for pair in PAIRS for key in pair)))
_MESH_CHAIN, _MESH_KEY, _MESH_ROOT = "cert-chain.pem", "key.pem", "root-cert.pem"


class PlaceOptions(msgspec.Struct, frozen=True):
    """``mesh_directory`` "": Istio's own, when it is there."""

    namespace: str = "istio-system"
    directories: tuple[str, ...] = ()
    mesh_directory: str = ""

    def mesh(self) -> str:
        """The directory of the mesh's certificate, "" when there is none."""
        return self.mesh_directory or (DEFAULT_MESH_DIRECTORY if os.path.isdir(DEFAULT_MESH_DIRECTORY) else "")


class Places:
    """Reads credentials by name. Holds what was read until it changes."""

    def __init__(self, options: PlaceOptions, resources: Iterable[Resource] = ()) -> None:
        self.options = options
        self._files = StampedFiles()
        self._decoded: dict[str, tuple[Secret, Mapping[str, bytes] | str]] = {}
        self.secrets: dict[str, Secret] = {}
        self.config_maps: dict[str, Mapping[str, str]] = {}
        self._elsewhere: dict[str, str] = {}
        self.use(resources)

    def use(self, resources: Iterable[Resource]) -> None:
        """Look among these from now on; the first of two Secrets of a name counts."""
        secrets: dict[str, Secret] = {}
        config_maps: dict[str, Mapping[str, str]] = {}
        self._elsewhere = {}
        for resource in resources:
            if resource.kind == "Secret":
                if resource.namespace == self.options.namespace:
                    secrets.setdefault(resource.name, resource.spec)
                else:
                    self._elsewhere[resource.name] = resource.namespace
            elif resource.kind == "ConfigMap" and resource.namespace == self.options.namespace:
                config_maps.setdefault(resource.name, resource.spec.data or {})
        self.secrets, self.config_maps = secrets, config_maps

    def read(self, name: str, need: Need) -> Content:
        """The parts of a credential that are needed. Raises CredentialError."""
        if name.startswith(KUBERNETES):
            return self._read_secret(self._own(name, KUBERNETES), need)
        if name.startswith(CONFIG_MAP):
            return self._read_config_map(self._own(name, CONFIG_MAP), need)
        if name.startswith(FILE_CERTIFICATE):
            certificate, key = split_paths(name, FILE_CERTIFICATE)
            return Content(self._read_file(certificate), self._read_file(key))
        if name.startswith(FILE_CA):
            ca, crl = split_paths(name, FILE_CA)
            return Content(ca=self._read_file(ca), crl=self._read_file(crl) if crl else b"")
        if name == MESH:
            return self._read_mesh(need)
        raise CredentialMissing(f'"{name}" is no kind of credential that is known here')

    def watched(self, names: Iterable[str]) -> list[str]:
        """Files and directories in which a change may change one of the credentials."""
        found = set(self.options.directories)
        for name in names:
            if name.startswith(FILE_CERTIFICATE):
                found.update(split_paths(name, FILE_CERTIFICATE))
            elif name.startswith(FILE_CA):
                found.update(split_paths(name, FILE_CA))
            elif name == MESH and self.options.mesh():
                found.add(self.options.mesh())
        return sorted(found - {""})

    def describe(self, name: str, *, certificate: bool = False) -> str:
        """How messages call a credential, or only its certificate."""
        if name.startswith(KUBERNETES):
            owner, bare = split_owner(name, KUBERNETES, self.options.namespace)
            return f'Secret "{owner}/{bare}"'
        if name.startswith(CONFIG_MAP):
            owner, bare = split_owner(name, CONFIG_MAP, self.options.namespace)
            return f'ConfigMap "{owner}/{bare}"'
        if name == MESH:
            return f"the mesh's certificate in {self.options.mesh() or DEFAULT_MESH_DIRECTORY}"
        scheme = FILE_CERTIFICATE if name.startswith(FILE_CERTIFICATE) else FILE_CA
        first, second = split_paths(name, scheme)
        return f"{first} and {second}" if second and not certificate else first

    def list_names(self) -> list[str]:
        """Of all Secrets and mounted directories."""
        found = set(self.secrets)
        for directory in self.options.directories:
            try:
                with os.scandir(directory) as entries:
                    found.update(filter(None, map(_mounted_name, entries)))
            except OSError:
                continue
        return sorted(found)

    def holds(self, name: str) -> Need:
        """Which parts a Secret or mounted directory seems to have; 0 when it cannot be read or has none."""
        try:
            entries = self._entries(name) or {}
        except CredentialError:
            return Need(0)
        pair = Need.PAIR if any(key in entries for keys in PAIRS for key in keys) else Need(0)
        return pair | (Need.CA if has_ca(entries) else Need(0))

    def finish(self) -> None:
        """A round over all credentials is over: what was not asked for is not held any longer."""
        self._files.forget_unasked()
        for name in self._decoded.keys() - self.secrets.keys():
            del self._decoded[name]

    def _own(self, name: str, scheme: str) -> str:
        owner, bare = split_owner(name, scheme, self.options.namespace)
        if owner != self.options.namespace:
            raise CredentialMissing(f'"{name}": a credential is looked for in namespace {self.options.namespace} only')
        return bare

    def _read_secret(self, name: str, need: Need) -> Content:
        if need == Need.CA:
            return content_of_entries(self._ca_entries(name), need)
        entries = self._entries(name)
        if entries is None:
            raise CredentialMissing(f'Secret "{self.options.namespace}/{name}" not found{self._hint(name)}')
        return content_of_entries(entries, need)

    def _ca_entries(self, name: str) -> Mapping[str, bytes]:
        """Of the Secret itself, or of the one it stands beside: ``web-cacert`` may be part of ``web`` (fields.md, section 10)."""
        entries = self._entries(name)
        if entries is not None and has_ca(entries):
            return entries
        if name.endswith(CA_SUFFIX):
            bare = name.removesuffix(CA_SUFFIX)
            beside = self._entries(bare)
            if beside is not None and has_ca(beside):
                return beside
            raise CredentialMissing(f'no CA: Secret "{self.options.namespace}/{name}" or "{bare}" has to hold ca.crt')
        if entries is None:
            raise CredentialMissing(f'Secret "{self.options.namespace}/{name}" not found{self._hint(name)}')
        return entries

    def _entries(self, name: str) -> Mapping[str, bytes] | None:
        """Raises CredentialError when what is there cannot be read."""
        secret = self.secrets.get(name)
        if secret is not None:
            known = self._decoded.get(name)
            if known is None or known[0] is not secret:
                known = self._decoded[name] = (secret, secret_entries(secret))
            if isinstance(known[1], str):
                raise CredentialError(known[1])
            return known[1]
        # a name with a slash or of dots only would lead out of the directory
        for directory in self.options.directories if not domain_problem(name) else ():
            mounted = os.path.join(directory, name)
            if os.path.isdir(mounted):
                return self._mounted_entries(mounted)
            if flat := self._flat_entries(directory, name):
                return flat
        return None

    def _mounted_entries(self, directory: str) -> Mapping[str, bytes]:
        # through the link once: between two reads it may be exchanged, and the halves of a pair would not match
        try:
            content = os.path.join(directory, os.readlink(os.path.join(directory, DATA_LINK)))
        except OSError:
            content = directory
        entries = {}
        try:
            for key in _MOUNTED.intersection(os.listdir(content)):
                entries[key] = self._files.read(os.path.join(content, key))
        except OSError as error:
            raise CredentialError(f"{error.filename}: {error.strerror}") from None
        return entries

    def _flat_entries(self, directory: str, name: str) -> Mapping[str, bytes]:
        """``NAME_tls.crt``, ``NAME_tls.key`` beside each other: systemd puts what LoadCredential=NAME:DIRECTORY names this way."""
        entries = {}
        for key in _MOUNTED:
            path = os.path.join(directory, f"{name}_{key}")
            if os.path.isfile(path):
                entries[key] = self._read_file(path)
        return entries

    def _read_config_map(self, name: str, need: Need) -> Content:
        if need != Need.CA:
            raise CredentialError("a ConfigMap holds no private key: only a CA can be one")
        data = self.config_maps.get(name)
        if data is None:
            raise CredentialMissing(f'ConfigMap "{self.options.namespace}/{name}" not found')
        return content_of_entries({key: text.encode() for key, text in data.items()}, Need.CA)

    def _read_mesh(self, need: Need) -> Content:
        directory = self.options.mesh()
        if not directory:
            raise CredentialMissing(f"there is no mesh certificate: name its directory with --mesh-cert DIR ({_MESH_CHAIN}, ...)")
        chain = self._read_file(os.path.join(directory, _MESH_CHAIN)) if need & Need.PAIR else b""
        key = self._read_file(os.path.join(directory, _MESH_KEY)) if need & Need.PAIR else b""
        ca = self._read_file(os.path.join(directory, _MESH_ROOT)) if need & Need.CA else b""
        return Content(chain, key, ca)

    def _read_file(self, path: str) -> bytes:
        try:
            data = self._files.read(path)
        except FileNotFoundError as error:
            raise CredentialMissing(f"{path}: {error.strerror}") from None
        except OSError as error:
            raise CredentialError(f"{path}: {error.strerror}") from None
        if not data:
            raise CredentialError(f"{path}: the file is empty")
        return data

    def _hint(self, name: str) -> str:
        """A Secret of that name where it is not looked for."""
        namespace = self._elsewhere.get(name)
        return f"; there is one in namespace {namespace}" if namespace else ""


def secret_entries(secret: Secret) -> Mapping[str, bytes] | str:
    """The entries of a Secret as bytes, or in words why not. ``stringData`` wins."""
    entries: dict[str, bytes] = {}
    for key, text in (secret.data or {}).items():
        try:
            entries[key] = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return f'data["{key}"] is not base64'
    entries.update((key, text.encode()) for key, text in (secret.string_data or {}).items())
    return entries


def _mounted_name(entry: os.DirEntry[str]) -> str:
    """The credential that a directory, or a file NAME_tls.crt, is of; "" for anything else."""
    if entry.name.startswith("."):
        return ""
    if entry.is_dir():
        return entry.name
    name, _, key = entry.name.rpartition("_")
    return name if key in _MOUNTED else ""
