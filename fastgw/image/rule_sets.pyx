"""Rules and virtual hosts of a Plan -> pieces of an image: most of the work of a large image, so it is done on the C structs.

A list of rules with its tries is one piece, which virtual hosts with the same list share; a virtual host is another.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastgw.image.link cimport Piece
from fastgw.image.tables cimport Tables, raw_of
from fastgw.image.tries cimport TrieWriter
from fastgw.native.base cimport fgw_header_id_of, fgw_span
from fastgw.native.route cimport (
    FGW_NONE, fgw_img_action, fgw_img_destination, fgw_img_edit, fgw_img_edits, fgw_img_part, fgw_table,
)

from fastgw.image.layout import ACTIONS, EDITS, OPS, PATH_KINDS, STICKY, TARGETS, VALUES, ImageError
from fastgw.image.guard_records import add_guards
from fastgw.image.link import Host
from fastgw.image.policy_records import add_direct_response, add_pages, add_redirect, add_route_policy
from fastgw.image.references import NUMBERS
from fastgw.model.plan import NO_EDITS


cdef extern from "fgw/image.h" nogil:
    enum:
        FGW_VHOST_REQUIRE_TLS
        FGW_HOST_MAX
        FGW_STICKY_NAME_MAX

    ctypedef struct fgw_img_vhost:
        fgw_span name
        fgw_table rules
        uint16_t flags
        uint16_t own_pages
        uint32_t origin
        uint32_t root_fold
        uint32_t guard
        fgw_table pages

    ctypedef struct fgw_img_rule:
        fgw_span name
        fgw_span path
        uint8_t path_kind
        uint8_t ignore_case
        uint16_t predicate_count
        uint32_t predicates
        uint32_t regex
        uint32_t action
        uint32_t virtual_service
        uint32_t origin
        uint16_t route_index
        uint16_t match_index

    ctypedef struct fgw_img_predicate:
        fgw_span name
        fgw_span value
        uint8_t target
        uint8_t op
        uint8_t invert
        uint8_t header_id
        uint32_t regex


cdef enum:
    U16_MAX = 0xffff

cdef uint32_t RULES = NUMBERS["rules"]
cdef uint32_t PREDICATES = NUMBERS["predicates"]
cdef uint32_t ACTION_TABLE = NUMBERS["actions"]
cdef uint32_t DESTINATIONS = NUMBERS["destinations"]
cdef uint32_t EDIT_TABLE = NUMBERS["edits"]
cdef uint32_t PARTS = NUMBERS["parts"]
cdef uint32_t VHOSTS = NUMBERS["vhosts"]
cdef uint32_t NODES = NUMBERS["nodes"]


cdef class RuleSet:
    """The written rules and tries of a list of rules; virtual hosts with the same list share them."""

    cdef readonly Piece piece
    cdef readonly uint32_t size
    cdef readonly uint32_t root_fold


cdef class RuleSetBuilder:
    """The piece of one list of rules after another: its node 0 is the root of their trie."""

    cdef Tables tables
    cdef TrieWriter tries
    cdef dict actions, policies, guards
    cdef object last_action, last_owner, numbers
    cdef uint32_t last_action_index, last_owner_index

    def __init__(self, symbols, numbers):
        self.tables, self.numbers = Tables(symbols), numbers
        self.tries = TrieWriter(self.tables)

    def build(self, list rules not None):
        """Raises ImageError for what no image can hold."""
        cdef RuleSet written = RuleSet.__new__(RuleSet)
        cdef uint32_t rank = 0
        self.tables.clear()
        self.tries.begin(rules)
        self.actions, self.policies, self.guards, self.last_action, self.last_owner = {}, {}, {}, None, None
        for rule in rules:
            self.add_rule(rule, rank)
            rank += 1
        written.size, written.root_fold = rank, FGW_NONE
        self.tables.add(NODES, 1)
        self.tries.write(False, 0)
        if not self.tries.is_empty(True):
            written.root_fold = self.tables.count_of(NODES)
            self.tables.add(NODES, 1)
            self.tries.write(True, written.root_fold)
        written.piece = self.tables.take(True)
        return written

    # --- rules ---

    cdef int add_rule(self, rule, uint32_t rank) except -1:
        cdef fgw_img_rule *record = <fgw_img_rule *>self.tables.add(RULES, 1)
        cdef tuple predicates = rule.predicates
        cdef bint regex = False
        if len(predicates) > U16_MAX:
            raise ImageError(f"{rule.virtual_service.key}: {len(predicates)} conditions in one match")
        record.predicates, record.predicate_count = self.tables.count_of(PREDICATES), <uint16_t>len(predicates)
        for predicate in predicates:
            regex = self.add_predicate(predicate) or regex
        record.name = self.tables.place_text(rule.name)
        self.add_path(record, rule.path, rank, regex)
        record.action = self.action(rule.action)
        owner = rule.virtual_service
        if owner is not self.last_owner:
            self.last_owner, self.last_owner_index = owner, self.tables.origin(owner.kind, owner.key, owner.origin)
        record.virtual_service = self.last_owner_index
        record.origin = self.tables.origin(owner.kind, owner.key, rule.origin)
        record.route_index, record.match_index = min(rule.route_index, U16_MAX), min(rule.match_index, U16_MAX)
        return 1

    cdef int add_path(self, fgw_img_rule *record, path, uint32_t rank, bint regex) except -1:
        """The path condition: its fields of the record, and where the tries hold the rule."""
        cdef bytes raw = b"", key = b""
        cdef str kind = "prefix"
        cdef bint fold = False
        record.regex = FGW_NONE
        if path is not None:
            kind, raw = path.kind, raw_of(path.value)
            record.path_kind = PATH_KINDS[kind]
            key = raw
        if kind == "regex":
            regex = True
            record.regex, key = self.tables.regex(path.value)
        elif path is not None and path.ignore_case:
            raw = key = raw.lower()
            record.ignore_case = fold = True
        record.path = self.tables.place(raw)
        self.tries.note(regex or record.predicate_count > 0, regex)
        if kind == "segment":
            key = key.removesuffix(b"/")
            self.tries.hang(fold, key, rank, True)
            key = key + b"/"
        self.tries.hang(fold, key, rank, kind == "exact")
        return 1

    cdef bint add_predicate(self, p) except -1:
        """Is it a regex?"""
        cdef fgw_img_predicate *record = <fgw_img_predicate *>self.tables.add(PREDICATES, 1)
        cdef bytes name = raw_of(p.name)
        record.target, record.op, record.invert, record.regex = TARGETS[p.target], OPS[p.op], p.invert, FGW_NONE
        if p.target == "header":
            name = name.lower()
            record.header_id = <uint8_t>fgw_header_id_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if p.op == "regex":
            record.regex = self.tables.regex(p.value)[0]
        record.name, record.value = self.tables.place(name), self.tables.place_text(p.value)
        return record.regex != FGW_NONE

    # --- actions ---

    cdef uint32_t action(self, action) except? 0xffffffff:
        """Index of the record; rules of one route have the same action."""
        if action is not self.last_action:
            known = self.actions.get(action)
            if known is None:
                known = self.actions[action] = self.add_action(action)
            self.last_action, self.last_action_index = action, known
        return self.last_action_index

    cdef uint32_t add_action(self, action) except? 0xffffffff:
        cdef uint32_t index = self.tables.count_of(ACTION_TABLE)
        cdef list shares = action.shares()
        cdef fgw_img_action *record = <fgw_img_action *>self.tables.add(ACTION_TABLE, 1)
        record.kind = ACTIONS[action.kind if shares or action.kind != "route" else "unsupported"]
        record.sticky_ttl_s = record.answer = record.policy = record.guard = FGW_NONE
        record.destinations.off, record.destinations.count = self.tables.count_of(DESTINATIONS), <uint32_t>len(shares)
        for destination, weight in shares:
            self.add_destination(record, destination, weight)
        if action.sticky is not None:
            self.keep_client(record, action.sticky)
        if action.edits is not NO_EDITS and action.edits != NO_EDITS:
            self.add_edits(&record.edits, action.edits)
        if action.redirect is not None:
            record.answer = add_redirect(self.tables, action.redirect)
        elif action.answer is not None:
            record.answer = add_direct_response(self.tables, action.answer)
        if action.policy is not None:
            record.policy = self.policy(action.policy)
        if action.guards is not None:
            record.guard = self.guard(action.guards)
        return index

    cdef uint32_t guard(self, guards) except? 0xffffffff:
        """Index of the record; routes of which the same is asked share it."""
        known = self.guards.get(guards)
        if known is None:
            known = self.guards[guards] = add_guards(self.tables, guards, self.numbers)
        return known

    cdef uint32_t policy(self, policy) except? 0xffffffff:
        """Index of the record; routes that ask for the same share it."""
        known = self.policies.get(policy)
        if known is None:
            known = self.policies[policy] = add_route_policy(self.tables, policy, self.add_predicates(policy.cors))
        return known

    cdef tuple add_predicates(self, cors):
        """(first, count) of the conditions on origins."""
        cdef uint32_t first = self.tables.count_of(PREDICATES)
        cdef tuple origins = cors.origins if cors is not None else ()
        for origin in origins:
            self.add_predicate(origin)
        return first, len(origins)

    cdef int add_destination(self, fgw_img_action *action, destination, uint32_t weight) except -1:
        cdef fgw_img_destination *record = <fgw_img_destination *>self.tables.add(DESTINATIONS, 1)
        cdef str cluster = destination.cluster
        action.total_weight += weight
        record.cluster, record.weight, record.cumulative_weight = self.tables.cluster(cluster), weight, action.total_weight
        record.cluster_name = self.tables.place_shared(cluster)
        if destination.edits != NO_EDITS:
            self.add_edits(&record.edits, destination.edits)
        return 1

    cdef int add_edits(self, fgw_img_edits *record, edits) except -1:
        record.request = self.add_block(edits.request)
        record.response = self.add_block(edits.response)
        record.authority = self.tables.place_text(edits.authority)
        return 1

    cdef fgw_table add_block(self, tuple edits) except *:
        """The records of a block, which are adjacent, and the parts of their values."""
        cdef fgw_table block
        cdef fgw_img_edit *record
        cdef bytes name
        block.off, block.count = self.tables.count_of(EDIT_TABLE), <uint32_t>len(edits)
        for edit in edits:
            name = raw_of(edit.name)
            record = <fgw_img_edit *>self.tables.add(EDIT_TABLE, 1)
            record.kind = EDITS[edit.kind]
            record.header_id = <uint8_t>fgw_header_id_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
            record.name = self.tables.place(name)
            record.value.off, record.value.count = self.tables.count_of(PARTS), <uint32_t>len(edit.value)
            for part in edit.value:
                self.add_part(part)
        return block

    cdef int add_part(self, part) except -1:
        cdef fgw_img_part *record = <fgw_img_part *>self.tables.add(PARTS, 1)
        cdef bytes text = raw_of(part.argument)
        cdef bytes other = b""
        record.code = VALUES[part.operation]
        record.limit = FGW_NONE if part.limit is None else min(part.limit, <uint32_t>FGW_NONE - 1)
        if part.operation.endswith("_header"):
            text, _, other = text.partition(b"?")
            record.header_id = <uint8_t>fgw_header_id_of(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            record.other_id = <uint8_t>fgw_header_id_of(PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other))
        record.text, record.other = self.tables.place(text), self.tables.place(other)
        return 1

    cdef int keep_client(self, fgw_img_action *record, sticky) except -1:
        """The fields of a sticky action."""
        cdef bytes name = raw_of(sticky.name)
        if len(name) > FGW_STICKY_NAME_MAX:
            raise ImageError(f"the name {sticky.name[:60]}... has {len(name)} bytes, more than {FGW_STICKY_NAME_MAX}")
        record.sticky = STICKY[sticky.kind]
        if sticky.kind == "header":
            record.sticky_header_id = <uint8_t>fgw_header_id_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if sticky.ttl_s is not None:
            record.sticky_ttl_s = sticky.ttl_s
        record.sticky_name = self.tables.place(name)
        return 1


cdef class HostBuilder:
    """The piece of one virtual host after another."""

    cdef Tables tables
    cdef object numbers

    def __init__(self, symbols, numbers):
        self.tables, self.numbers = Tables(symbols), numbers

    def build(self, vhost, RuleSet rules not None):
        """Raises ImageError for a domain that no image can hold."""
        self.tables.clear()
        cdef fgw_img_vhost *record = <fgw_img_vhost *>self.tables.add(VHOSTS, 1)
        record.flags = FGW_VHOST_REQUIRE_TLS if vhost.require_tls else 0
        record.origin = self.tables.origin("", "", vhost.origin)
        record.name = self.tables.place_text(vhost.name)
        record.rules.count, record.root_fold = rules.size, rules.root_fold
        record.guard = FGW_NONE if vhost.guards is None else add_guards(self.tables, vhost.guards, self.numbers)
        if vhost.pages or vhost.gateway_pages:
            if len(vhost.pages) > 0xFFFF:
                raise ImageError(f"{vhost.name} has {len(vhost.pages)} error pages, more than {0xFFFF}")
            record.own_pages = <uint16_t>len(vhost.pages)
            record.pages.off, record.pages.count = add_pages(self.tables, vhost.pages + vhost.gateway_pages)
        domains = tuple([domain_of(domain) for domain in vhost.domains])
        return Host(self.tables.take(False, rules.piece), rules.piece, domains)


cdef bytes domain_of(str domain):
    cdef bytes raw = raw_of(domain).lower()
    if len(raw) > FGW_HOST_MAX:
        raise ImageError(f"the domain {domain[:60]}... has {len(raw)} bytes, more than {FGW_HOST_MAX}")
    return raw
