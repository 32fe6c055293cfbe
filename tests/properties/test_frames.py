"""Announcements of any address are read as what they say; no frame does any harm."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, strategies as st

from haagent.wire import arp, ndp

macs = st.binary(min_size=6, max_size=6)
mutations = st.lists(st.tuples(st.integers(0, 85), st.integers(0, 255)), max_size=4)


@given(macs, st.ip_addresses(v=4).filter(int))
def test_every_arp_announcement_shows_its_address(mac: bytes, address: IPv4Address) -> None:
    sighting = arp.ArpSighting(address, mac)

    assert arp.parse(arp.gratuitous_request(mac, address)) == sighting
    assert arp.parse(arp.gratuitous_reply(mac, address)) == sighting


@given(macs, st.ip_addresses(v=6).filter(lambda address: not address.is_multicast))
def test_every_advertisement_shows_its_address(mac: bytes, address: IPv6Address) -> None:
    assert ndp.parse(ndp.unsolicited_na(mac, address)) == ndp.NdpSighting(
        address=address, mac=mac, frame_source=mac
    )


@given(st.binary(max_size=120))
def test_no_frame_can_make_parse_raise(frame: bytes) -> None:
    assert isinstance(arp.parse(frame), arp.ArpSighting | None)
    assert isinstance(ndp.parse(frame), ndp.NdpSighting | None)


@given(macs, st.ip_addresses(v=4), st.ip_addresses(v=6), mutations)
def test_no_changed_announcement_can_make_parse_raise(
    mac: bytes, v4: IPv4Address, v6: IPv6Address, changes: list[tuple[int, int]]
) -> None:
    for frame in (arp.gratuitous_reply(mac, v4), ndp.unsolicited_na(mac, v6)):
        changed = bytearray(frame)
        for place, value in changes:
            changed[place % len(frame)] = value
        assert isinstance(arp.parse(bytes(changed)), arp.ArpSighting | None)
        assert isinstance(ndp.parse(bytes(changed)), ndp.NdpSighting | None)
