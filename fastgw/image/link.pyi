"""Types of the linker for mypy."""

KINDS: dict[str, int]

class Format:
    count: int
    def __init__(self, tables: list[tuple[int, list[tuple[int, int, int]]]], numbers: dict[str, int]) -> None: ...
    def record_bytes(self, table: int) -> int: ...

class Symbol:
    text: bytes
    more: bytes
    def __init__(self, kind: str, text: bytes, more: bytes = b"") -> None: ...

class Piece:
    def __init__(
        self,
        form: Format,
        tables: list[bytes | bytearray],
        symbols: tuple[Symbol, ...],
        rooted: bool = False,
        goes_with: Piece | None = None,
        defines: Symbol | None = None,
        defined: int = 0,
    ) -> None: ...

class Host:
    domains: tuple[bytes, ...]
    def __init__(self, own: Piece, rules: Piece, domains: tuple[bytes, ...]) -> None: ...

class Slots:
    first: int
    count: int
    longest: int
    at_labels: bool
    @property
    def length_words(self) -> tuple[int, ...]: ...

class Linker:
    def __init__(self, form: Format, host_count: int) -> None: ...
    def add(self, piece: Piece) -> None: ...
    def add_hosts(self, hosts: list[Host]) -> int: ...
    def add_domains(self, hosts: list[Host]) -> tuple[Slots, Slots, int]: ...
    def counts(self) -> list[int]: ...
    def write(self, out: bytearray | memoryview, offsets: list[int]) -> None: ...
