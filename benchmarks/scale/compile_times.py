"""Cold compilation and checking of a folder, each in a process of its own: seconds and peak memory.

python benchmarks/scale/compile_times.py FOLDER   prints one JSON object; used by run.py.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fastgw.image.numbers import StateNumbers  # noqa: E402
from fastgw.supervisor.compile_job import Job  # noqa: E402
from fastgw.supervisor.compile_protocol import Compile, Configure  # noqa: E402


def compile_folder(folder: str) -> dict[str, float]:
    """What the compile child does at a start."""
    import gc

    gc.disable()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    job = Job(Configure([folder], {"istio": "ingressgateway"}, "istio-system"), StateNumbers())
    compiled, fds = job.run(Compile(1))
    seconds = time.perf_counter() - started_s
    for fd in fds:
        os.close(fd)
    rules = compiled.counts.rules
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu_s, 2),
        "load_s": round(compiled.timings.load, 2),
        "compile_s": round(compiled.timings.compile, 2),
        "write_s": round(compiled.timings.write, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "rules": rules,
        "bytes_a_rule": round(compiled.counts.image_bytes / max(rules, 1)),
    }


if __name__ == "__main__":
    print(json.dumps(compile_folder(sys.argv[1])))
