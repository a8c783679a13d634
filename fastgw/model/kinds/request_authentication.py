"""security.istio.io RequestAuthentication: which tokens are accepted, and where they are found."""

from __future__ import annotations

from fastgw.model.duration import Duration
from fastgw.model.kinds.base import LabelSelector, Spec
from fastgw.model.kinds.policy import TargetRef


class JwtHeader(Spec):
    name: str = ""
    prefix: str = ""


class ClaimToHeader(Spec):
    header: str = ""
    claim: str = ""


class JwtRule(Spec):
    """``jwks`` is the key set itself, ``jwks_uri`` where it is fetched."""

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks_uri: str = ""
    jwks: str = ""
    from_headers: tuple[JwtHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    forward_original_token: bool = False
    timeout: Duration | None = None
    space_delimited_claims: tuple[str, ...] = ()


class RequestAuthentication(Spec):
    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = ()
    jwt_rules: tuple[JwtRule, ...] = ()
