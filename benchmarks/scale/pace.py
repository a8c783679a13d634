"""A client that asks at a steady pace and notes how long each answer takes. One connection, kept alive.

python benchmarks/scale/pace.py PORT HOST PATH RATE   until its standard input ends; then prints one JSON object.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)] if sorted_values else 0.0


def main() -> None:
    port, host, path, rate = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    took_ms: list[float] = []
    failed, next_s = 0, time.perf_counter()
    while not select.select([sys.stdin], [], [], max(0.0, next_s - time.perf_counter()))[0]:
        next_s = max(next_s + 1 / rate, time.perf_counter() - 0.1)
        began = time.perf_counter()
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != 200
        except (OSError, http.client.HTTPException):
            failed += 1
            connection.close()
        took_ms.append((time.perf_counter() - began) * 1e3)
    took_ms.sort()
    p50, p99 = percentile(took_ms, 0.5), percentile(took_ms, 0.99)
    print(json.dumps({"requests": len(took_ms), "failed": failed, "p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}))


if __name__ == "__main__":
    main()
