"""What a scraper reads, as Prometheus' own parser understands it."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from haagent.observe.facts import ChangeFacts, Facts, decode, encode
from haagent.observe.metrics import exposition
from tests.unit.observe.conftest import FACTS, MAIL, WEB

Series = dict[str, float]


def series(facts: Facts) -> Series:
    """Each series with its value: ``name{label="value"}``, labels in order."""
    found = {}
    for family in text_string_to_metric_families(exposition(facts).decode()):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def of(name: str, facts: Facts = FACTS) -> Series:
    """The series of one metric, without its name."""
    return {
        key.removeprefix(name): value
        for key, value in series(facts).items()
        if key.partition("{")[0] == name
    }


def test_a_group_is_in_one_state_and_its_series_says_so_with_one() -> None:
    ones = [labels for labels, value in of("haagent_group_state").items() if value]

    assert ones == [
        '{cluster="shop",group="web",state="master"}',
        '{cluster="shop",group="mail",state="backup"}',
    ]


def test_changes_of_role_are_counted_by_reason_and_becoming_master_from_zero() -> None:
    web = '{cluster="shop",group="web",reason="handover",state="master"}'

    assert of("haagent_group_role_changes_total")[web] == 2
    # A counter that appears with its first event has no increase that Prometheus could see.
    assert of("haagent_group_became_master_total") == {
        '{cluster="shop",group="mail"}': 0,
        '{cluster="shop",group="web"}': 3,
    }


def test_addresses_behind_a_closed_fence_are_held_and_not_open() -> None:
    web = '{cluster="shop",group="web"}'

    assert of("haagent_group_addresses_held")[web] == 2
    assert of("haagent_group_addresses_open")[web] == 1


def test_both_families_of_an_interface_are_paths_of_their_own() -> None:
    path = '{{cluster="shop",family="{}",interface="eth0",peer="lb2"}}'

    assert of("haagent_peer_path_last_heard_age_seconds") == {
        path.format("ipv4"): 0.1,
        path.format("ipv6"): 31.0,
    }
    # What is not known yet has no series, rather than one that says 0.
    assert of("haagent_peer_path_loss_ratio") == {path.format("ipv4"): 0.012}
    assert of("haagent_peer_path_round_trip_seconds") == {path.format("ipv4"): 0.0004}
    assert of("haagent_peers_alive") == {'{cluster="shop"}': 1}


def test_the_lateness_is_a_histogram_in_seconds_whose_buckets_add_up() -> None:
    assert of("haagent_loop_lateness_seconds_bucket") == {
        '{le="0.001"}': 990,
        '{le="0.02"}': 999,
        '{le="+Inf"}': 1000,
    }
    assert of("haagent_loop_lateness_seconds_count") == {"": 1000}
    assert of("haagent_loop_lateness_seconds_sum") == {"": 0.5}


def test_a_rejected_configuration_shows_with_the_age_of_the_one_in_force() -> None:
    assert of("haagent_config_last_reload_successful") == {"": 0}
    at_s = of("haagent_config_last_reload_success_timestamp_seconds")
    assert at_s == {"": 1_795_285_793.5}


def test_without_haproxy_there_is_no_metric_of_it() -> None:
    assert not [key for key in series(replace(FACTS, haproxy=None)) if "haproxy" in key]


def test_ten_thousand_servers_and_app_nodes_make_no_more_series_than_none() -> None:
    assert FACTS.haproxy is not None
    backends = tuple(replace(each, wanted=0, seen=0) for each in FACTS.haproxy.backends)
    none = tuple(replace(each, serving=0) for each in FACTS.services)
    small = replace(FACTS, haproxy=replace(FACTS.haproxy, backends=backends), services=none)

    assert series(FACTS).keys() == series(small).keys()
    assert of("haagent_backend_servers_wanted") == {'{backend="app"}': 10_000}
    assert of("haagent_nodes")['{service="shop",standing="dead"}'] == 2


def test_what_haproxy_counts_is_told_by_backend_and_server() -> None:
    app1 = '{backend="app",server="app1"}'

    assert of("haagent_server_up") == {app1: 1}
    assert of("haagent_server_current_sessions") == {app1: 3}
    assert of("haagent_server_sessions_total") == {app1: 1200}
    assert of("haagent_server_bytes_in_total") == {app1: 5_000}
    assert of("haagent_server_bytes_out_total") == {app1: 99_000_000_000}


def test_every_metric_has_a_help_text_that_is_a_sentence() -> None:
    families = [*text_string_to_metric_families(exposition(FACTS).decode())]

    assert len(families) > 30
    assert [f.name for f in families if not f.documentation.endswith(".")] == []


def test_a_value_that_must_be_escaped_is() -> None:
    strange = replace(FACTS, groups=(replace(WEB, name='w"e\nb\\'),))

    assert of("haagent_group_term", strange) == {'{cluster="shop",group="w"e\nb\\"}': 26}


def test_facts_survive_the_way_to_the_other_process() -> None:
    assert decode(encode(FACTS)) == FACTS
    bare = replace(FACTS, haproxy=None, groups=(), peers=(), services=(), discards={})
    assert decode(encode(bare)) == bare


def test_a_state_that_came_later_is_counted_too() -> None:
    change = ChangeFacts(state="fault", reason="link_down", count=5)
    facts = replace(FACTS, groups=(replace(MAIL, changes=(change,)),))

    assert list(of("haagent_group_role_changes_total", facts).values()) == [5]
