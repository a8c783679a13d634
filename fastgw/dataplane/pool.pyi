"""What Python code may touch of the pool."""

from fastgw.dataplane.context import Context

class Pool:
    idle: int
    spare_streams: int
    def __init__(self, ctx: Context) -> None: ...
    def close_idle(self) -> None: ...
