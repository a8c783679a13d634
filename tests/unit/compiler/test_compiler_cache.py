"""What a second compilation keeps: the very objects, as long as nothing that they were made from has changed."""

from __future__ import annotations

from typing import Any

from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.compile import CompileCache, CompileOptions, CompileResult, compile_plan
from fastgw.model.plan import VirtualHost
from fastgw.model.resource import Resource


def hosts(result: CompileResult) -> dict[str, VirtualHost]:
    return {host.domains[0]: host for host in result.plan.route_tables["http.80"].virtual_hosts}


def fresh(resources: list[Resource], **options: Any) -> CompileResult:
    return compile_plan(resources, CompileOptions(**options))


def world() -> list[Resource]:
    return [
        gateway(),
        resource("Service", "web", {"ports": [{"name": "http", "port": 80}]}),
        slice_of("web", "10.0.0.1"),
        virtual_service("one", "one.com", to("web")),
        virtual_service("two", "two.com", to("web", uri={"prefix": "/x"}), to("other")),
    ]


def slice_of(service: str, address: str) -> Resource:
    spec = {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": [address]}]}
    return resource("EndpointSlice", f"{service}-1", spec, labels={"kubernetes.io/service-name": service})


def test_one_changed_virtual_service_leaves_the_others_alone() -> None:
    cache, resources = CompileCache(), world()
    before = compile_plan(resources, cache=cache)
    resources[3] = virtual_service("one", "one.com", to("web", uri={"exact": "/new"}))
    after = compile_plan(resources, cache=cache)
    assert hosts(after)["two.com"] is hosts(before)["two.com"]
    assert hosts(after)["one.com"] is not hosts(before)["one.com"]
    assert after == fresh(resources)


def test_changed_endpoints_keep_the_rules() -> None:
    cache, resources = CompileCache(), world()
    before = compile_plan(resources, cache=cache)
    resources[2] = slice_of("web", "10.0.0.2")
    after = compile_plan(resources, cache=cache)
    name = "outbound|80||web.default.svc.cluster.local"
    assert [endpoint.address for endpoint in after.plan.clusters[name].endpoints] == ["10.0.0.2"]
    assert hosts(after)["one.com"] is hosts(before)["one.com"]
    assert after == fresh(resources)


def test_a_new_service_changes_what_names_mean() -> None:
    cache, resources = CompileCache(), world()
    compile_plan(resources, cache=cache)
    resources.append(resource("Service", "other", {"ports": [{"name": "http", "port": 8000}]}))
    after = compile_plan(resources, cache=cache)
    assert after == fresh(resources)
    assert hosts(after)["two.com"].rules[1].action.destinations[0].cluster not in after.plan.clusters


def test_a_changed_gateway_binds_anew() -> None:
    cache, resources = CompileCache(), world()
    compile_plan(resources, cache=cache)
    resources[0] = gateway("gw", "two.com")
    after = compile_plan(resources, cache=cache)
    assert list(hosts(after)) == ["two.com"]
    assert after == fresh(resources)


def test_a_removed_object_leaves_nothing_behind() -> None:
    cache, resources = CompileCache(), world()
    compile_plan(resources, cache=cache)
    del resources[3]
    after = compile_plan(resources, cache=cache)
    assert list(hosts(after)) == ["two.com"]
    assert after == fresh(resources)


def test_a_changed_delegate_reaches_its_root() -> None:
    root = virtual_service("root", "a.com", {"delegate": {"name": "leaf"}})
    cache = CompileCache()
    for path in ("/old", "/new"):
        leaf = resource("VirtualService", "leaf", {"http": [to("web", uri={"exact": path})]})
        result = compile_plan([gateway(), root, leaf], cache=cache)
        assert [rule.path.value for rule in hosts(result)["a.com"].rules if rule.path] == [path]


def test_other_options_make_everything_new() -> None:
    cache, resources = CompileCache(), world()
    compile_plan(resources, CompileOptions(), cache)
    resolve = {"other": ("10.9.9.9", 1234)}
    after = compile_plan(resources, CompileOptions(resolve=dict(resolve)), cache)
    assert after == fresh(resources, resolve=resolve)
    assert after.plan.clusters["outbound|80||other.default.svc.cluster.local"].endpoints[0].port == 1234
