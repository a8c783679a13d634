"""Types of the rule sets for mypy."""

from fastgw.image.link import Host, Piece
from fastgw.image.numbers import StateNumbers
from fastgw.image.symbols import Symbols
from fastgw.model.plan import Rule, VirtualHost

class RuleSet:
    piece: Piece
    size: int
    root_fold: int

class RuleSetBuilder:
    def __init__(self, symbols: Symbols, numbers: StateNumbers) -> None: ...
    def build(self, rules: list[Rule]) -> RuleSet: ...

class HostBuilder:
    def __init__(self, symbols: Symbols, numbers: StateNumbers) -> None: ...
    def build(self, vhost: VirtualHost, rules: RuleSet) -> Host: ...
