"""Every code a diagnostic may carry, in one place: severity as a rule, name, meaning.

``IST…`` are Istio's numbers for the same finding, so that searches and suppressions carry over; ``FGW…`` are ours.
"""

from __future__ import annotations

import msgspec

from fastgw.model.diagnostic import ERROR, INFO, WARNING


class Code(msgspec.Struct, frozen=True):
    """``severity`` is the usual one; a finding may be given another where its text says why."""

    code: str
    severity: str
    name: str
    meaning: str


_ISTIO = (
    (
        "IST0101",
        ERROR,
        "ReferencedResourceNotFound",
        "something named here does not exist: gateway, destination, subset, credential, delegate",
    ),
    ("IST0106", ERROR, "SchemaValidationError", "an object or a part of it breaks the rules of its kind, and is left out"),
    (
        "IST0112",
        ERROR,
        "VirtualServiceDestinationPortSelectorRequired",
        "the service has several ports and the destination names none",
    ),
    (
        "IST0128",
        WARNING,
        "NoServerCertificateVerificationDestinationLevel",
        "TLS to the destination without a CA to check it against",
    ),
    (
        "IST0129",
        WARNING,
        "NoServerCertificateVerificationPortLevel",
        "TLS to a port of the destination without a CA to check it against",
    ),
    ("IST0130", WARNING, "VirtualServiceUnreachableRule", "a rule that no request reaches"),
    ("IST0131", WARNING, "VirtualServiceIneffectiveMatch", "a match that an earlier one covers"),
    (
        "IST0132",
        WARNING,
        "VirtualServiceHostNotFoundInGateway",
        "none of the VirtualService's hosts is served by the gateway it names",
    ),
    ("IST0133", WARNING, "SchemaWarning", "accepted, but hardly what was meant"),
    ("IST0134", WARNING, "ServiceEntryAddressesRequired", "a TCP port of a ServiceEntry without addresses"),
    ("IST0138", INFO, "GatewayDuplicateCertificate", "several Gateways use one credential, which is harmless here"),
    ("IST0145", ERROR, "ConflictingGateways", "several Gateways claim the same port and host"),
    (
        "IST0149",
        ERROR,
        "JwtClaimBasedRoutingWithoutRequestAuthN",
        "routing by a claim, and no RequestAuthentication that would yield it",
    ),
    ("IST0161", ERROR, "InvalidGatewayCredential", "the Secret does not hold a usable certificate and key"),
    ("IST0162", WARNING, "GatewayPortNotDefinedOnService", "the Service in front of the gateway does not publish the port"),
    ("IST0173", ERROR, "DestinationRuleSubsetNotSelectPods", "no endpoint carries the labels of the subset"),
    ("IST0174", WARNING, "UnknownDestinationRuleHost", "no service has the host of the DestinationRule"),
    ("IST0177", WARNING, "ConflictingServiceEntryProtocol", "ServiceEntries give one host and port different protocols"),
)

_FILES = (
    ("FGW0001", ERROR, "PathNotFound", "a path that was given does not exist"),
    ("FGW0002", ERROR, "PathUnreadable", "a file or directory cannot be read: permissions, a device, an I/O error"),
    ("FGW0003", WARNING, "DirectoryEmpty", "a directory without *.yaml, *.yml or *.json files"),
    ("FGW0004", ERROR, "NothingLoaded", "no resource at all in what was given"),
    ("FGW0005", ERROR, "NotText", "the file is not UTF-8 text"),
    ("FGW0006", ERROR, "SyntaxError", "not valid YAML or JSON; documents before and after the bad one count"),
    ("FGW0007", ERROR, "LimitExceeded", "a file, document, nesting or alias expansion is too large"),
    ("FGW0008", WARNING, "SymlinkLoop", "a symbolic link leads back to a directory above it"),
    ("FGW0009", ERROR, "IncompleteDocument", "a document without apiVersion, kind or metadata.name"),
    ("FGW0010", ERROR, "DuplicateResource", "the same kind, namespace and name twice; the first one counts"),
    ("FGW0011", ERROR, "UnknownKind", "Istio or Kubernetes has no such kind in this API group"),
    ("FGW0012", ERROR, "UnservedVersion", "the kind exists, this apiVersion of it does not"),
    ("FGW0013", INFO, "ForeignKind", "a kind of another project, passed over"),
    ("FGW0014", INFO, "KindWithoutEffect", "a kind that means nothing at a gateway, passed over"),
    ("FGW0015", WARNING, "KindNotSupported", "a kind that Istio's gateway obeys and this version does not"),
    (
        "FGW0016",
        WARNING,
        "UnknownKubernetesField",
        "an object of Kubernetes has a field that is not known; it is ignored, the rest counts",
    ),
    ("FGW0017", WARNING, "KeptFromBefore", "objects of a file that broke while the gateway runs stay served as they were before"),
    (
        "FGW0018",
        ERROR,
        "PageUnreadable",
        "the file of an error page is missing, too large, no text, or outside of where it may be; the page is left out",
    ),
)

_PICTURE = (
    ("FGW0020", WARNING, "DestinationOnlyInDns", "no service has this name, it will be asked of DNS"),
    ("FGW0021", INFO, "DestinationFound", "which step of the look-up found a destination"),
    ("FGW0022", WARNING, "GatewayNotSelected", "the selector of the Gateway does not match this gateway's labels"),
    ("FGW0023", INFO, "VirtualServiceNotBound", "no Gateway serves this VirtualService, so it has no effect here"),
    ("FGW0024", WARNING, "RuleShadowed", "no request reaches a rule, since one of another VirtualService on the host covers it"),
    ("FGW0025", INFO, "HostShared", "several VirtualServices have a host; whose rules come first, and why"),
    ("FGW0026", WARNING, "LongerPathHidden", "a rule is hidden by the shorter path of a VirtualService that comes first"),
    ("FGW0027", WARNING, "HostNotServed", "one host of a VirtualService is among those of no Gateway that it names"),
    ("FGW0028", INFO, "HostWithinWildcard", "hosts with rules of their own are out of a VirtualService's wildcard"),
    ("FGW0029", INFO, "DelegateUnused", "no VirtualService with hosts leads to a delegate"),
    ("FGW0030", INFO, "HostNotAnswered", "no VirtualService answers for a host of a Gateway"),
    ("FGW0031", INFO, "RegexSlowElsewhere", "a regular expression that takes engines forever that backtrack; harmless here"),
    ("FGW0032", INFO, "PrefixBeyondSegment", "a prefix that ends within a path segment, so that it catches longer names, too"),
    (
        "FGW0033",
        WARNING,
        "CertificateNotValid",
        "a certificate or CA that is not valid, or not in 30 days; a CRL out of date",
    ),
    ("FGW0034", WARNING, "CertificateNames", "a certificate does not cover the hosts of its server"),
    ("FGW0041", WARNING, "CertificateOrder", "a chain of certificates is out of order, so that clients may refuse it"),
    ("FGW0040", WARNING, "PortWithoutTls", "settings of a port without tls take away the TLS that the policy around them asks for"),
)

_COMPILER = (
    ("FGW0101", ERROR, "ServerInvalid", "a server of a Gateway cannot be used and is left out"),
    ("FGW0102", ERROR, "ServerConflict", "a server is left out because an earlier one has its port with another protocol"),
    ("FGW0103", WARNING, "ServerNotSupported", "a server of a protocol that this version does not serve"),
    ("FGW0104", ERROR, "RuleInvalid", "a rule, or one of its matches, means nothing; it is left out or answered 503"),
    ("FGW0105", WARNING, "FieldNotSupported", "a field that this version does not obey"),
    (
        "FGW0106",
        ERROR,
        "UpstreamTlsInvalid",
        "TLS to a destination that cannot work as written; answered 503, not sent in the clear",
    ),
    ("FGW0107", WARNING, "SubsetLabelsUnknown", "a subset of a destination whose endpoints have no known labels"),
    ("FGW0108", WARNING, "DestinationWithoutEndpoints", "a destination that is known and has no endpoints; answered 503"),
    ("FGW0109", WARNING, "ConditionNeverHolds", "a condition that no request can meet"),
    ("FGW0110", WARNING, "AnnotationInvalid", "an annotation of ours that is unknown or has no such value; it has no effect"),
    ("FGW0112", WARNING, "TlsFieldIgnored", "a part of a server's tls block does not have the effect that it seems to have"),
    ("FGW0113", WARNING, "ServerNameTaken", "a server name that leads elsewhere, or is not within the hosts of the Gateway"),
    ("FGW0114", WARNING, "ServerLeadsNowhere", "a TCP or TLS server from which no route leads on; it is not served"),
    (
        "FGW0116",
        WARNING,
        "ListenerShared",
        "Gateways that share a listener ask for different things of its connections; the stricter counts",
    ),
    ("FGW0131", WARNING, "LocalityUnknown", "settings of localities need to know where the gateway is"),
    ("FGW0130", WARNING, "PolicyRefused", "a part of a DestinationRule that a gateway cannot do; the default counts"),
    (
        "FGW0118",
        ERROR,
        "NetworkInvalid",
        "an entry of a list of addresses is none; of `allow` the others count, of `deny` see FGW0120",
    ),
    ("FGW0119", WARNING, "PolicyOverruled", "an older policy for the same target says the same; that one counts"),
    (
        "FGW0120",
        ERROR,
        "PolicyBroken",
        "an EdgePolicy, or an annotation that stands for one, cannot be read: the last good version counts, else nobody is let in",
    ),
    ("FGW0115", WARNING, "RoutesUnused", "http, tls or tcp routes of a VirtualService that no server of its Gateways looks at"),
)

_RUNNING = (
    (
        "FGW0202",
        WARNING,
        "NotTheSources",
        "a kept or given configuration is served, not the sources: rollback, apply, snapshot",
    ),
    ("FGW0201", ERROR, "ListenerNotOpen", "a port could not be opened: taken by another process, no permission, no such address"),
)

NOT_SUPPORTED_YET = frozenset(("FGW0015", "FGW0103", "FGW0105"))
"""Findings that say nothing about the configuration, only about what this version does not do."""

CODES: dict[str, Code] = {row[0]: Code(*row) for row in (*_ISTIO, *_FILES, *_PICTURE, *_COMPILER, *_RUNNING)}


def severity_of(code: str) -> str:
    """The usual severity. Raises KeyError for a code that is not in the table."""
    return CODES[code].severity
