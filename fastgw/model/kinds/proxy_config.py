"""networking.istio.io ProxyConfig: settings of the proxies themselves. Read to be checked; see ``fastgw run`` for ours."""

from __future__ import annotations

import msgspec

from fastgw.model.kinds.base import Int32, LabelSelector, Spec


class ProxyImage(Spec):
    image_type: str = ""


class ProxyConfig(Spec):
    selector: LabelSelector | None = None
    concurrency: Int32 | None = None
    environment_variables: dict[str, str] = msgspec.field(default_factory=dict)
    image: ProxyImage | None = None
