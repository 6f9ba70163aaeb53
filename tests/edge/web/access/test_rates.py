"""How often each address may do something, on a clock of the test's own."""

from __future__ import annotations

from edge.web.access.rates import Rates


class Clock:
    s = 1000.0

    def __call__(self) -> float:
        return self.s


def test_a_burst_is_free_and_then_there_is_a_rate() -> None:
    clock = Clock()
    rates = Rates(burst=3, per_s=0.5, clock=clock)
    for _ in range(3):
        assert rates.wait_s("a") == 0
        rates.take("a")
    assert rates.wait_s("a") == 2  # one in two seconds
    clock.s += 1.5
    assert rates.wait_s("a") == 0.5
    clock.s += 0.5
    assert rates.wait_s("a") == 0
    rates.take("a")
    assert rates.wait_s("a") == 2
    assert rates.wait_s("b") == 0
    clock.s += 3600
    for _ in range(3):  # and no more than the burst is saved up
        rates.take("a")
    assert rates.wait_s("a") == 2


def test_many_addresses_are_forgotten_the_quietest_first() -> None:
    rates = Rates(burst=1, per_s=1e-6, clock=Clock())
    rates.take("quiet")
    for number in range(512):
        rates.take("loud")
        rates.take(str(number))
    assert rates.wait_s("quiet") == 0
    assert rates.wait_s("loud") > 0
    assert rates.wait_s("0") == 0  # with "loud" those from 1 to 511 are all 512 that are kept
    assert all(rates.wait_s(str(number)) > 0 for number in range(1, 512))


def test_a_network_of_ipv6_is_one_address_and_one_of_ipv4_is_not() -> None:
    rates = Rates(burst=1, per_s=1.0, clock=Clock())
    rates.take("2001:db8::1")
    rates.take("fe80::1%eth0")
    rates.take("::ffff:192.0.2.1")
    assert rates.wait_s("2001:db8::ffff:1") == 1
    assert rates.wait_s("2001:db8:0:1::1") == 0
    assert rates.wait_s("fe80::2%eth1") == 1
    assert rates.wait_s("192.0.2.1") == 1
    assert rates.wait_s("192.0.2.2") == 0
    assert rates.wait_s("") == 0
