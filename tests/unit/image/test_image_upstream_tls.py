"""TLS towards clusters as records of an image."""

from __future__ import annotations

import msgspec
import pytest
from image_builders import plan, rule, vhost

from fastgw.image.layout import NONE, TABLES, ImageError, lib
from fastgw.image.matcher import Matcher
from fastgw.image.numbers import StateNumbers
from fastgw.image.reader import ImageReader
from fastgw.image.writer import write_image
from fastgw.model.plan import Action, Cluster, UpstreamTls, WeightedDestination

FULL = UpstreamTls(
    certificate="file-cert:/c~/k",
    ca="file-ca:/ca",
    sni="api.example.org",
    alpn=("http/1.1",),
    sans=("a.example.org", "spiffe://mesh/ns/a/sa/b", "10.0.0.1"),
)


def written(*settings: UpstreamTls | None, generation: int = 1) -> ImageReader:
    """Clusters c0, c1, ... with these settings."""
    clusters = [Cluster(f"c{i}", "h", 443, tls=tls) for i, tls in enumerate(settings)]
    action = Action("route", tuple(WeightedDestination(cluster.name, 1) for cluster in clusters))
    data = write_image(plan(vhost(["a.com"], rule("r", action=action)), clusters=clusters), StateNumbers(), generation)
    Matcher(data)  # checks the image
    return ImageReader(data)


def record(reader: ImageReader, cluster: int) -> dict[str, int] | None:
    """The upstream_tls row of the cluster of that name."""
    for row in reader.rows("clusters"):
        if reader.text(row, "name") == f"c{cluster}":
            return None if row["tls"] == NONE else reader.row("upstream_tls", reader.number(row, "tls"))
    raise AssertionError(f"no cluster c{cluster}")


def identity(tls: UpstreamTls) -> int:
    found = record(written(tls), 0)
    assert found is not None
    return found["identity"]


def test_everything_is_written() -> None:
    reader = written(FULL)
    row = record(reader, 0)
    assert row is not None
    texts = [reader.text(row, name) for name in ("certificate", "ca", "sni")]
    assert texts == ["file-cert:/c~/k", "file-ca:/ca", "api.example.org"]
    assert (row["verify"], row["min_version"], row["max_version"]) == (lib.FGW_VERIFY_NAMES, lib.FGW_TLS12, lib.FGW_TLS13)
    assert row["alpn"] == lib.FGW_ALPN_HTTP1
    names = [reader.row("texts", row["sans.off"] + i) for i in range(row["sans.count"])]
    start = reader.header["strings.off"]
    strings = [reader.image[start + name["off"] : start + name["off"] + name["len"]] for name in names]
    assert strings == [name.encode() for name in FULL.sans]


def test_plain_text_has_no_record() -> None:
    reader = written(None, FULL)
    assert record(reader, 0) is None
    assert record(reader, 1) is not None


def test_clusters_have_their_own() -> None:
    reader = written(FULL, UpstreamTls(), UpstreamTls(verify="none"))
    rows = [record(reader, i) for i in range(3)]
    assert [row and row["verify"] for row in rows] == [lib.FGW_VERIFY_NAMES, lib.FGW_VERIFY_NAMES, lib.FGW_VERIFY_NONE]
    assert [row and row["sans.count"] for row in rows] == [3, 0, 0]


def test_the_identity_is_that_of_all_settings_and_stays_over_generations() -> None:
    assert record(written(FULL, generation=1), 0) == record(written(FULL, generation=2), 0)
    changes: list[dict[str, object]] = [
        {"certificate": ""}, {"ca": "system"}, {"sni": ""}, {"verify": "none"}, {"verify": "chain"}, {"min_version": "1.3"},
        {"max_version": "1.2"}, {"alpn": ()}, {"sans": ()}, {"sans": FULL.sans[::-1]},
    ]  # fmt: skip
    identities = [identity(FULL), *(identity(msgspec.structs.replace(FULL, **change)) for change in changes)]
    assert len(set(identities)) == len(identities)
    assert 0 not in identities


@pytest.mark.parametrize(("field", "value"), [("verify", 3), ("min_version", 0), ("max_version", 5)])
def test_a_value_out_of_range_is_refused(field: str, value: int) -> None:
    reader = written(FULL)
    data = bytearray(reader.image)
    at = reader.header["upstream_tls.off"] + TABLES["upstream_tls"].offset(field)
    data[at] = value
    with pytest.raises(ImageError):
        Matcher(bytes(data))
