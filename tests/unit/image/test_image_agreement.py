"""Writer, C matcher, Python reader and a naive matcher on the Plan agree on random plans and requests."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_plans import LISTENER, plan_match, rule_matches, some_plan, some_request

from fastgw.image.layout import NONE, lib
from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.image.numbers import StateNumbers
from fastgw.image.reader import ImageReader
from fastgw.image.writer import write_image
from fastgw.model.plan import Plan


class Opinions:
    """One plan, and what everybody says about a request to it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        image = write_image(plan, StateNumbers(), 1)
        self.matcher, self.reader = Matcher(image), ImageReader(image)
        self.listener = self.reader.listener(LISTENER)
        self.vhosts = plan.route_tables["http.80"].virtual_hosts

    def shapes(self) -> Counter[str]:
        """How many lists go on with that of a shorter prefix, how many are hashed on a value, how many try regexes together."""
        lists = list(self.reader.rows("lists"))
        return Counter(
            chained=sum(row["next"] != NONE for row in lists),
            grouped=sum(row["group"] != NONE for row in lists),
            path_sets=sum(row["target"] == lib.FGW_ON_PATH for row in self.reader.rows("regex_sets")),
            header_sets=sum(row["target"] == lib.FGW_ON_HEADER for row in self.reader.rows("regex_sets")),
            query_sets=sum(row["target"] == lib.FGW_ON_QUERY for row in self.reader.rows("regex_sets")),
            authority_sets=sum(row["target"] == lib.FGW_ON_AUTHORITY for row in self.reader.rows("regex_sets")),
        )

    def compare(self, request: RouteRequest) -> str:
        assert self.listener is not None
        said = self.matcher.match(self.listener, request)
        assert (said.verdict, said.vhost, said.rule) == self.reader.match(self.listener, request)
        verdict, vhost, rule = plan_match(self.plan, request)
        assert said.verdict == verdict
        assert said.vhost == (None if vhost is None else self.vhosts.index(vhost))
        if rule is not None:
            row = self.reader.row("rules", said.rule or 0)
            assert self.reader.text(row, "name") == rule.name
        return verdict

    def compare_rules(self, request: RouteRequest) -> None:
        """Every rule alone: fgw_rule_check against the others."""
        for vhost, row in zip(self.vhosts, self.reader.rows("vhosts"), strict=True):
            for rule, index in zip(vhost.rules, self.reader.range(row, "rules"), strict=True):
                holds = self.matcher.failing(index, request) is None
                assert holds == self.reader.rule_holds(self.reader.row("rules", index), request) == rule_matches(rule, request)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.booleans())
def test_random_plans_agree(random: Random, crowded: bool) -> None:
    opinions = Opinions(some_plan(random, crowded))
    for _ in range(8):
        request = some_request(random, opinions.plan, crowded)
        opinions.compare(request)
        opinions.compare_rules(request)


@pytest.mark.parametrize("crowded", [False, True])
def test_seeded_plans_agree_and_cover_every_verdict(crowded: bool) -> None:
    random = Random(20_260)
    seen: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for _ in range(100 if crowded else 200):
        opinions = Opinions(some_plan(random, crowded))
        shapes.update(opinions.shapes())
        for _ in range(50):
            seen[opinions.compare(some_request(random, opinions.plan, crowded))] += 1
    assert set(seen) == {"match", "no_rule", "no_virtual_host", "require_tls"}
    assert seen["match"] > sum(seen.values()) / 4, seen
    assert not crowded or min(shapes.values()) > 50, shapes
