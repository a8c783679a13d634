"""Every requirement of reliability and safety has a test, or a reason why it has none.

By number: what the requirement asks stands in its sentence here, in short. Tests are named by file and function, cases of hostile
messages by the beginning of their ids (tests/functional/data). A number that is gone, or a test that has got another name, fails.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SECTIONS = {"A": 21, "B": 14, "C": 7, "D": 12, "E": 11, "F": 17, "G": 14, "H": 17, "I": 7, "J": 11, "K": 7, "L": 8}
DP, FN, SV = "unit/dataplane/test_dp_", "functional/test_", "unit/supervisor/test_"

# number: what is asked, and who shows it
SHOWN: dict[str, tuple[str, ...]] = {
    "A1": ("Content-Length with Transfer-Encoding is refused", "case te-01", "case te-02"),
    "A2": ("chunked alone, once, and nothing beside it", "case te-05", "case te-11", "case te-36"),
    "A3": ("a length is digits, once, and not too many", "case cl-0", "case cl-1", "case cl-2",
        "ext/test_http1_request.c lengths"),
    "A4": ("names that nearly are framing are none", "case cl-32", "case te-42", "case te-45"),
    "A5": ("lines end with CRLF", "case line-01", "case hdr-26", "case chunk-14",
        f"{FN}limits.py each_leniency_is_named_counted_and_normalised"),
    "A6": ("chunk sizes are hexadecimal digits and bounded", "case chunk-19", "case chunk-41", "ext/test_chunked.c refused"),
    "A7": ("CRLF behind the data of a chunk", "case chunk-44", "case chunk-45"),
    "A8": ("extensions are read strictly, bounded and dropped", "case chunk-01", "ext/test_chunked.c limits"),
    "A9": ("trailers obey the rules of fields and frame nothing", "case chunk-50",
        f"{DP}trailers.py what_frames_or_is_trusted_is_dropped", f"{DP}trailers.py requests_lose_their_trailers_towards_http1"),
    "A10": ("HTTP/1.0 with Transfer-Encoding is refused", "case te-51", "case te-52"),
    "A11": ("HTTP/1.0 GET with a body is refused", "case cl-41"),
    "A12": ("a body of a GET is relayed whole", "case cl-36", "case te-55", "case base-07"),
    "A13": ("after a malformed message the connection ends", "case pipe-08", "case te-45",
        f"{DP}deadlines.py a_lingering_close_ends"),
    "A14": ("a body that breaks is never completed upstream", "case chunk-61",
        f"{DP}tls_hostile.py an_answer_before_a_broken_upload_over_tls"),
    "A15": ("what follows a whole message is the next one", "case pipe-01", "case cl-38"),
    "A16": ("one request is in flight, the rest waits unread", f"{FN}limits.py pipelining_without_reading_is_held_back",
        "case pipe-11"),
    "A17": ("eight empty lines before a request", "case line-46"),
    "A18": ("Expect is answered here", "case expect-", f"{DP}headers.py expect_is_answered_here"),
    "A19": ("nothing goes upstream before the 101", f"{DP}websocket.py nothing_goes_upstream_before_the_upstream_has_agreed",
        "case hop-16"),
    "A20": ("no upgrade but websocket", f"{DP}websocket.py other_upgrades_are_403", f"{DP}websocket.py h2c_is_not_an_upgrade"),
    "A21": ("no CONNECT, TRACE, HTTP/0.9", "case form-18", "case form-23", "case line-25"),
    "B1": ("a request line is three words", "case line-04", "case line-14"),
    "B2": ("the forms of a target", "case form-03", "case line-20"),
    "B3": ("an absolute target names the host of Host", "case form-03", "ext/test_http1_request.c absolute_form"),
    "B4": ("exactly one Host", "case host-01", "case host-04"),
    "B5": ("the syntax of a host", "case host-09", "case host-20", "ext/test_uri.c authorities"),
    "B6": ("no fall-through to another virtual host", "case host-31", f"{FN}statements.py statement"),
    "B7": ("the syntax of names", "case hdr-01", "case hdr-13"),
    "B8": ("the bytes of values", "case hdr-16", "case hdr-21"),
    "B9": ("names with underscores are dropped", "case hdr-33", f"{FN}headers.py underscores_can_be_allowed_or_refused"),
    "B10": ("no Proxy field upstream", f"{DP}headers.py fields_that_do_not_go_upstream"),
    "B11": ("no fragment", "case line-16"),
    "B12": ("one path, matched and sent", "case path-", f"{FN}limits.py path_normalisation"),
    "B13": ("nothing is decoded twice", "case path-03", "ext/test_uri.c base"),
    "B14": ("no high bytes in a target", "case line-15"),
    "C1": ("fields of a connection end with it", "case hop-01",
        f"{DP}headers.py connection_cannot_name_away_what_the_gateway_says"),
    "C2": ("own fields come last", "case hop-01", f"{DP}headers.py the_gateways_own_fields"),
    "C3": ("the peer is appended to x-forwarded-for", "case trust-02", f"{FN}headers.py forwarded_for_is_appended_to"),
    "C4": ("x-forwarded-proto is ours", "case trust-03", f"{FN}headers.py forwarded_proto_is_overwritten"),
    "C5": ("controls and certificates of a client are not believed", "case trust-07",
        f"{FN}headers.py internal_fields_from_outside_go"),
    "C6": ("x-request-id is ours", "case trust-08", f"{FN}headers.py request_id_is_made_anew_each_time"),
    "C7": ("cookies are joined, other fields keep their order", "case base-26", f"{DP}headers.py repeated_fields"),
    "D1": ("60 KiB of head", f"{FN}limits.py limits_of_heads_can_be_set", "case hdr-38"),
    "D2": ("100 fields", "case hdr-41", "case hdr-42", "ext/test_http1_request.c limits"),
    "D3": ("16 KiB of target", f"{FN}limits.py limits_of_heads_can_be_set", "case line-50"),
    "D4": ("a limit is answered when it is reached", "ext/test_http1_request.c limits", "case line-51"),
    "D5": ("the head of an answer is limited, too", "case resp-42", "case resp-43"),
    "D6": ("the size of bodies", f"{FN}edge_policy.py i20_a_length_that_is_too_large",
        f"{FN}edge_policy.py chunks_that_become_too_much"),
    "D7": ("what is held of a body is bounded", f"{DP}flow.py a_client_that_does_not_read_stops_the_upstream",
        f"{DP}http2.py the_window_opens_as_the_upstream_takes"),
    "D8": ("connections of a listener", f"{FN}connection_limits.py a_full_listener_holds_back_its_own_clients_only"),
    "D9": ("connections of a source", f"{FN}connection_limits.py a_source_address_has_one_limit_over_all_workers"),
    "D10": ("requests of a connection", f"{FN}timeouts.py a_limit_of_requests_closes_the_connection"),
    "D11": ("limits of a cluster", f"{FN}destination_rules.py max_connections_holds_over_all_workers",
        f"{FN}destination_rules.py what_is_too_much_is_answered_overflow"),
    "D12": ("descriptors are kept in reserve", f"{DP}images.py running_out_of_descriptors",
        f"{DP}admission.py connections_wait_before_the_last_descriptor_is_taken"),
    "E1": ("a handshake ends in time", f"{DP}tls.py a_stalled_handshake_ends",
        f"{FN}tls_patience.py a_handshake_that_stops_after_the_hello_is_cut_off"),
    "E2": ("a hello comes in time", f"{DP}newcomer.py a_slow_hello_is_cut_whatever_its_progress"),
    "E3": ("a head comes in time, however it trickles", f"{DP}deadlines.py bytes_that_trickle_in_do_not_move_the_heads_deadline",
        f"{FN}timeouts.py a_slow_head_is_408_and_closed"),
    "E4": ("a body comes, and at a rate", f"{DP}deadlines.py a_body_that_falls_silent_is_answered_with_408",
        f"{DP}deadlines.py a_body_that_trickles_is_answered_with_408"),
    "E5": ("idle connections end", f"{DP}deadlines.py an_idle_kept_alive_connection_is_closed_silently",
        f"{DP}http2_patience.py idle"),
    "E6": ("a client that does not read is cut", f"{DP}deadlines.py a_client_that_does_not_read_is_reset",
        f"{DP}http2_patience.py answers_that_are_not_let_through"),
    "E7": ("a route has no time limit unless it is set", f"{FN}policy_retries.py j1_without_a_timeout_nothing_is_timed"),
    "E8": ("connecting has a time limit", f"{DP}deadlines.py a_connect_that_takes_too_long_is_tried_again_then_answered",
        f"{DP}upstream_tls.py a_handshake_that_takes_too_long"),
    "E9": ("relays end by silence, half-closed ones sooner", f"{DP}tunnel.py silence_ends_a_tunnel",
        f"{DP}tunnel.py a_half_closed_tunnel_may_be_silent_for_less",
        f"{DP}websocket.py a_half_closed_websocket_does_not_wait_for_ever"),
    "E10": ("a drain has its time", f"{FN}processes.py drain_ends_at_its_time", f"{FN}drain.py a_lame_duck_serves_as_before"),
    "E11": ("short memory shortens idle times", f"{DP}overload.py idle_connections_have_less_time"),
    "F1": ("what SETTINGS promise", f"{DP}http2.py streams_over_the_limit_are_refused",
        f"{DP}http2_patience.py the_number_of_streams_is_an_option"),
    "F2": ("rapid resets", f"{DP}http2_probes.py floods", f"{DP}http2_probes.py gentle_resets_are_no_flood"),
    "F3": ("resets that the peer provokes", f"{DP}http2_probes.py floods"),
    "F4": ("what a block decodes to is limited", f"{DP}http2_probes.py requests", "ext/test_http2_head.c limits"),
    "F5": ("a stalled window does not pin memory", f"{DP}http2_patience.py answers_that_are_not_let_through",
        f"{DP}http2_patience.py a_window_that_opens_byte_by_byte"),
    "F6": ("CONTINUATION frames", f"{DP}http2_probes.py frames"),
    "F7": ("PING and SETTINGS floods", f"{DP}http2_probes.py floods"),
    "F8": ("empty frames", f"{DP}http2_probes.py empty_data_frames"),
    "F9": ("PRIORITY, WINDOW_UPDATE, unknown frames", f"{DP}http2_probes.py floods"),
    "F10": ("mostly overhead", f"{DP}http2_probes.py floods"),
    "F11": ("fields of HTTP/2 as strictly as of HTTP/1", f"{DP}http2_probes.py requests", "ext/test_http2_head.c malformed"),
    "F12": ("pseudo-header fields", f"{DP}http2_probes.py requests", "ext/test_http2_head.c malformed"),
    "F13": ("content-length equals the data", f"{DP}http2.py length_and_data_must_agree",
        f"{DP}http2.py trailers_that_cut_the_body_short"),
    "F14": ("one framing upstream", f"{DP}http2.py a_request_and_its_answer", "ext/test_http2_head.c framing"),
    "F15": ("GOAWAY twice", f"{DP}http2.py drain_says_goaway_twice_and_loses_nothing",
        f"{DP}http2.py a_client_that_does_not_answer_our_ping_is_told_after_a_second"),
    "F16": ("a connection does not hold the worker", f"{DP}http2.py requests_without_end_in_one_turn"),
    "F17": ("h2spec", f"{FN}h2spec.py inventory", f"{FN}h2spec.py h2spec"),
    "G1": ("versions and ciphers", f"{FN}tls_modes.py old_versions_are_refused", f"{FN}tls_modes.py a_client_cannot_renegotiate",
        f"{FN}tls_modes.py ciphers_without_aead_or_ephemeral_curves_are_refused"),
    "G2": ("a hello in any pieces", f"{DP}newcomer.py a_hello_split_at_every_byte",
        f"{DP}tls_hostile.py a_hello_over_many_records"),
    "G3": ("a hello that cannot be read is nobody's", f"{DP}newcomer.py memory_of_a_hello_is_bounded",
        "ext/test_tls_hello.c bad_sni", "ext/test_tls_hello.c bad_lengths"),
    "G4": ("the hello goes on unchanged", f"{DP}newcomer.py who_gets_a_hello", f"{FN}passthrough.py who_gets_a_hello"),
    "G5": ("server name and Host belong together", f"{FN}tls_misdirected.py the_host_of_another_server_is_misdirected",
        f"{FN}tls_misdirected.py each_stream_of_http2_is_judged"),
    "G6": ("client certificates are checked in the handshake", f"{FN}tls_modes.py mutual_refuses_all_others_in_the_handshake",
        f"{FN}tls_misdirected.py a_doubtful_host_never_reaches_a_strict_server"),
    "G7": ("sessions belong to their server", f"{FN}tls_resumption.py a_session_of_one_server_is_nothing_at_another",
        f"{FN}tls_resumption.py a_changed_check_of_clients_ends_their_sessions"),
    "G8": ("ticket keys", f"{FN}tls_resumption.py any_worker_resumes",
        f"{SV}ticket_keys.py own_keys_are_rotated_and_two_older_ones_kept",
        f"{FN}tls_resumption.py a_session_resumes_after_an_upgrade"),
    "G9": ("no early data", f"{FN}tls_modes.py no_early_data_is_offered", f"{DP}tls_hostile.py early_data_is_skipped"),
    "G10": ("certificates by server name, none by default", f"{FN}tls_sni.py the_most_specific_name_wins",
        f"{DP}tls.py an_unknown_server_name_is_told_so"),
    "G11": ("errors of one connection are not another's", f"{DP}tls_hostile.py many_connections_in_disorder",
        f"{FN}streaming.py idle_connections_hold_no_buffers"),
    "G12": ("floods within TLS", f"{DP}tls_hostile.py floods_of_key_updates_end_the_connection",
        f"{DP}tls_hostile.py empty_records_end_the_connection", f"{DP}overload.py handshakes_are_begun_one_a_turn"),
    "G13": ("upstreams are verified, or nothing is sent", f"{DP}upstream_tls.py without_its_ca_no_connection_is_made",
        f"{DP}upstream_tls.py bytes_before_the_handshake_are_never_relayed"),
    "G14": ("relays keep half-closes and resets", f"{DP}tunnel.py a_fin_is_passed_on_and_the_other_direction_stays_open",
        f"{DP}tunnel.py a_reset_is_passed_on"),
    "H1": ("answers are parsed as strictly", f"{FN}reliability.py response", "ext/test_http1_response.c framing"),
    "H2": ("what is cut looks cut", f"{FN}upstreams.py an_answer_cut_at_any_byte_is_never_taken_for_whole", "case resp-13"),
    "H3": ("bytes beyond an answer burn the connection", f"{DP}pool.py an_answer_that_burns_its_connection",
        f"{DP}pool.py bytes_that_were_there_before_the_request_are_not_its_answer"),
    "H4": ("idle connections are looked at before they are used",
        f"{DP}pool.py an_idle_connection_that_says_something_or_ends_is_dropped",
        f"{DP}pool.py a_request_and_the_end_of_the_idle_connection_in_one_turn"),
    "H5": ("interim answers", f"{DP}splits.py interim_answers_go_on_except_100",
        f"{DP}websocket.py a_101_to_a_plain_request_is_502"),
    "H6": ("a body where none may be", f"{DP}pool.py a_body_after_head_burns_the_connection"),
    "H7": ("an early answer", f"{FN}http1.py an_early_answer_ends_the_upload",
        f"{DP}pool.py an_early_answer_burns_the_connection_even_when_the_upload_ends_at_once"),
    "H8": ("an answer that came before a reset", "case resp-47"),
    "H9": ("what is sent again", f"{DP}retries.py an_idempotent_request_is_sent_again_once",
        f"{DP}retries.py a_request_that_is_not_idempotent_is_not_sent_again"),
    "H10": ("a budget for that", f"{FN}policy_retries.py j15_retries_of_a_cluster_at_the_same_time"),
    "H11": ("bodies that are kept for it", f"{FN}policy_retries.py j12_bodies_that_are_kept",
        f"{DP}retries.py a_body_that_is_not_kept_is_not_sent_again"),
    "H12": ("weights, and nobody there", f"{FN}statements.py statement"),
    "H13": ("ejection", f"{FN}destination_rules.py an_endpoint_that_fails_is_ejected_for_all_workers",
        f"{FN}upstreams.py a_refused_endpoint_costs_an_attempt_and_not_the_request"),
    "H14": ("an address that cannot be had", f"{DP}retries.py an_address_that_cannot_even_be_tried"),
    "H15": ("connections that nobody answers on", f"{DP}limits.py a_machine_that_is_gone_is_noticed",
        f"{DP}deadlines.py another_endpoint_is_taken_after_a_connect_timeout"),
    "H16": ("back-pressure both ways", f"{DP}flow.py a_client_that_does_not_read_stops_the_upstream",
        f"{DP}flow.py an_upstream_that_does_not_read_stops_the_client"),
    "H17": ("a client that leaves", f"{FN}streaming.py a_client_that_leaves_ends_the_upstream_request",
        f"{DP}http2.py a_client_reset_reaches_the_upstream"),
    "I1": ("four steps of memory", f"{FN}overload.py memory_runs_out_and_comes_back",
        f"{DP}overload.py the_largest_streams_are_reset"),
    "I2": ("no descriptors left", f"{FN}limits.py sixty_four_descriptors",
        f"{FN}limits.py many_connections_within_few_descriptors"),
    "I3": ("bursts of connections", f"{DP}images.py a_burst_of_connections_is_taken_over_several_turns",
        "unit/admin/test_servers.py lost_connections_are_read_from_the_kernel"),
    "I4": ("a bounded piece of work at a time", f"{DP}http2.py requests_without_end_in_one_turn",
        f"{DP}loop.py what_a_turn_tells_the_supervisor"),
    "I6": ("sinks never block", f"{FN}overload.py a_log_that_nobody_reads_holds_nobody_up",
        f"{FN}isolation.py a_full_disk_costs_log_lines_only"),
    "I7": ("admin and health answer under overload", f"{FN}limits.py sixty_four_descriptors",
        f"{FN}overload.py an_overloaded_worker_refuses_a_share_and_recovers"),
    "J1": ("a change is taken whole or not at all", f"{FN}drill.py the_drill",
        f"{SV}supervisor.py an_image_that_a_worker_refuses_is_taken_back",
        f"{FN}reload.py what_breaks_in_a_file_stays_served_as_it_was"),
    "J2": ("open connections do not notice", f"{FN}reload.py a_request_in_flight_keeps_its_rules",
        f"{FN}reload.py listeners_come_and_go"),
    "J3": ("no accept queue is lost", f"{FN}processes.py the_accept_queue_outlives_the_worker"),
    "J4": ("crashes stay alone and are slowed down", f"{FN}processes.py a_killed_worker_cuts_only_its_own_connections",
        f"{SV}backoff.py five_crashes_within_a_minute_are_free_and_the_next_wait"),
    "J5": ("hangs are ended", f"{FN}isolation.py a_frozen_worker_is_replaced_and_its_queue_served"),
    "J6": ("certificates rotate", f"{FN}credentials.py rotations_under_load_lose_no_request",
        f"{FN}tls_sni.py good_content_stays_while_what_replaces_it_is_bad"),
    "J7": ("the end", f"{FN}processes.py drain_lets_requests_finish", f"{FN}processes.py a_second_signal_ends_at_once",
        f"{FN}http2.py a_drain_loses_nothing"),
    "J8": ("upgrades", f"{FN}upgrade.py five_upgrades_under_load",
        f"{FN}upgrade.py a_new_version_that_cannot_start_changes_nothing"),
    "J9": ("a start that cannot be says so", f"{FN}processes.py a_port_in_use_is_named_with_its_holder",
        f"{SV}supervisor.py it_is_ready_only_when_all_workers_serve_and_ends_with_zero"),
    "J11": ("no orphans, one gateway a directory", f"{FN}processes.py workers_end_when_the_supervisor_is_killed",
        f"{FN}config_history.py the_last_twenty_are_kept_on_disk"),
    "K1": ("the admin port is local", f"{FN}processes.py admin_stays_on_loopback",
        "unit/admin/test_servers.py commands_of_other_users_are_refused",
        "unit/admin/test_servers.py foreign_hosts_and_pages_are_refused"),
    "K2": ("one line, one request", f"{FN}access_log.py hostile_bytes_are_escaped",
        f"{FN}access_log.py a_long_path_does_not_make_an_endless_line", f"{FN}access_log.py every_request_has_one_line"),
    "K3": ("refusals are counted by reason", f"{FN}metrics.py refusals_are_counted_by_reason", "ext/test_base.c reasons"),
    "K4": ("short constant bodies", f"{FN}policy_answers.py row", f"{FN}headers.py server_header_can_be_named"),
    "K5": ("configuration is untrusted", "unit/sources/test_yamldoc.py alias_bomb", "unit/sources/test_yamldoc.py depth",
        "unit/sources/test_yamldoc.py document_too_long"),
    "K6": ("what has no effect is said", f"{FN}bad_input.py fields_without_effect_are_warnings", f"{FN}broken_policies.py"),
    "K7": ("a hardened process", "unit/cli/test_install_service.py systemd_accepts_them",
        f"{DP}credentials.py private_keys_are_no_part_of_a_core_dump"),
    "L1": ("parsers are fuzzed under sanitizers", "fuzz/test_fuzz.py fuzz", "ext/test_ctest.py"),
    "L2": ("upstreams see what a strict reader sees", f"{FN}differential.py the_upstream_sees_what_a_strict_reader_sees"),
    "L3": ("all cases", f"{FN}reliability.py request", f"{FN}reliability.py the_data_is_whole"),
    "L4": ("h2spec and the probes", f"{FN}h2spec.py h2spec", f"{DP}http2_probes.py requests"),
    "L5": ("a soak", f"{FN}soak.py the_soak"),
    "L6": ("faults at every byte and allocation", f"{DP}no_memory.py an_allocation_that_fails_costs_its_connection_alone",
        f"{FN}upstreams.py an_answer_cut_at_any_byte_is_never_taken_for_whole",
        f"{DP}newcomer.py a_client_that_leaves_at_any_byte"),
    "L7": ("nothing leaks", f"{FN}chaos.py short_connections_of_every_kind", f"{FN}soak.py the_soak"),
}  # fmt: skip
NOT_HERE = {
    "I5": "a bar for other tests: cases about floods (F2 to F10, G12, A8) ask what a client may cost",
    "J10": "a test cannot set a machine's clock; timers read CLOCK_MONOTONIC, validity of certificates is OpenSSL's",
    "L8": "figures about other projects",
}


@cache
def text_of(file: str) -> str:
    return (TESTS / file).read_text()


@cache
def case_ids() -> tuple[str, ...]:
    files = ("reliability_cases", "strict_cases")
    return tuple(json.loads(line)["id"] for name in files for line in text_of(f"functional/data/{name}.jsonl").splitlines())


def is_there(reference: str) -> bool:
    """ "case BEGINNING [or another]", "FILE" or "FILE FUNCTION"."""
    file, *names = reference.split(" ")
    if file == "case":
        return any(one.startswith(name) for name in names for one in case_ids())
    return (TESTS / file).is_file() and all(
        re.search(rf"^ *(?:def|static void) test_{name}\(", text_of(file), re.M) for name in names
    )


@pytest.mark.parametrize("section", SECTIONS)
def test_every_requirement_has_a_test_or_a_reason(section: str) -> None:
    wanted = {f"{section}{number}" for number in range(1, SECTIONS[section] + 1)}
    found = {number for number in (*SHOWN, *NOT_HERE) if number[0] == section}
    assert found == wanted
    assert not SHOWN.keys() & NOT_HERE.keys()


@pytest.mark.parametrize("number", SHOWN)
def test_what_shows_it_is_there(number: str) -> None:
    asked, *references = SHOWN[number]
    assert asked and references
    assert not [reference for reference in references if not is_there(reference)]
