"""The human form of an explanation."""

from __future__ import annotations

from typing import Any

import click

_ACTIONS = {
    "not_found": "404 Not Found, empty body",
    "no_listener": "nothing listens there: the connection is refused",
    "closed": "the connection is closed",
    "tcp": "the bytes of the connection go to the destination",
    "misdirected": "421 Misdirected Request, empty body",
}


def as_text(answer: dict[str, Any], method: str, url: str, color: bool) -> str:
    """One line a step of the decision; ``answer`` is the JSON form."""
    lines = [f"{method} {url}", ""]
    listener = answer["listener"]
    if listener is not None:
        lines.append(_line("listener", f"{_where(listener)}, server {listener['server']}{_place(listener)}"))
        if listener["tls"] not in (None, "none") or answer["action"] == "tcp":
            lines.append(_line("chain", _chain(listener)))
        if answer["action"] not in ("tcp", "closed"):
            lines.append(_line("virtual host", answer["virtualHost"] or "none"))
    lines += [_line("not this", _failed(rule)) for rule in answer["considered"]]
    matched = answer["matched"]
    if matched is not None:
        block = "http" if answer["action"] != "tcp" else "tls" if listener["tls"] == "passthrough" else "tcp"
        lines.append(_line("matched", _paint(_rule(matched, block), "green", color)))
    lines.append(_line("answer", _paint(_action(answer), "green" if _is_good(answer) else "red", color)))
    if answer["action"] == "route" and answer["policy"]:
        lines.append(_line("upstream gets", answer["request"]["path"]))
    lines += [_line("guard", text) for text in answer["guards"]]
    lines += [_line("policy", text) for text in answer["policy"]]
    lines += [_line("own answers", page) for page in answer["errorPages"]]
    lines += [_line("edit", edit) for edit in answer["edits"]]
    for destination in answer["destinations"]:
        lines += _destination(destination, "closed" if answer["action"] == "tcp" else "answered 503")
    return "\n".join(lines)


def _where(listener: dict[str, Any]) -> str:
    """A Unix socket has no port."""
    return f"port {listener['port']}" if listener["port"] else listener["name"].removesuffix("_0")


def _chain(listener: dict[str, Any]) -> str:
    words = {"terminate": "ends TLS", "passthrough": "passes TLS through", "none": "no TLS"}[listener["tls"]]
    sni = f' for server name "{listener["sni"]}"' if listener["sni"] else ""
    return f"{listener['chain']}, {words}{sni}"


def _line(label: str, text: str) -> str:
    return f"  {label + ':':<14}{text}"


def _place(thing: dict[str, Any]) -> str:
    return f" ({thing['file']}:{thing['line']})" if thing["file"] else ""


def _paint(text: str, color_name: str, color: bool) -> str:
    return click.style(text, fg=color_name) if color else text


def _rule(rule: dict[str, Any], block: str = "http") -> str:
    name = f' "{rule["name"]}"' if rule["name"] else ""
    return f"{rule['virtualService']} {block}[{rule['route']}].match[{rule['match']}]{name} ({rule['file']}:{rule['line']})"


def _failed(rule: dict[str, Any]) -> str:
    return f"{_rule(rule)}\n{'':16}{rule['failed']}"


def _is_good(answer: dict[str, Any]) -> bool:
    return answer["action"] in ("route", "redirect", "direct_response", "tcp")


def _action(answer: dict[str, Any]) -> str:
    action = answer["action"]
    if action == "redirect":
        return f"{answer['status']} to {answer['location']}" + (f" ({answer['detail']})" if answer["detail"] else "")
    if action == "direct_response":
        return f"{answer['status']} from the gateway itself, {answer['detail']}"
    if action == "route" and answer["status"]:
        return f"{answer['status']} ({answer['detail']})"
    if action == "unsupported":
        invalid = answer["detail"] == "invalid"
        return "503: the rule is invalid, see check" if invalid else f"503: {answer['detail']} cannot be performed"
    if action == "denied":
        return f"{answer['status']}: {answer['detail']}" if answer["status"] else f"the connection is reset: {answer['detail']}"
    if action == "rejected":
        return f"{answer['status']}: the request is refused ({answer['detail']})"
    text = _ACTIONS.get(action, action)
    if action == "not_found" and any(page.startswith(("error page 404:", "error page 4xx:")) for page in answer["errorPages"]):
        text = "404 Not Found, with an error page"
    return f"{text} ({answer['detail']})" if answer["detail"] else text


def _destination(destination: dict[str, Any], failure: str) -> list[str]:
    subset = f" subset {destination['subset']}" if destination["subset"] else ""
    share = "this client keeps it" if destination["kept"] else f"{destination['share'] * 100:g} %"
    lines = [_line("destination", f"{destination['host']}:{destination['port']}{subset}, {share}")]
    lines.append(_line("cluster", f"{destination['cluster']}{_place(destination)}"))
    lines += [_line("edit", edit) for edit in destination["edits"]]
    if not destination["known"]:
        lines.append(_line("endpoints", f"none: no such cluster, {failure} (NC)"))
    else:
        lines.append(_line("endpoints", _endpoints(destination, failure)))
    return lines


def _endpoints(destination: dict[str, Any], failure: str) -> str:
    """Those that are not ready get no request."""
    idle = destination["notReady"]
    if len(idle) == len(destination["endpoints"]):
        return f"none{' is ready' if idle else ''}: {failure} (UH)"
    return ", ".join(f"{each} (not ready)" if each in idle else each for each in destination["endpoints"])
