"""Who tests looks into the outbox, and waits for what is to come, from any thread and any event loop."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sasl import UsageError
from sasl.adapters import reference
from sasl.adapters.reference.outbox import Outbox, Sent, local_part

if TYPE_CHECKING:
    from sasl.adapters.reference import Servers


def sent(*recipients: str, raw: bytes = b"Subject: x\r\n\r\nbody\r\n", protocol: str = "smtp") -> Sent:
    nothing: Any = ({},) * len(recipients)
    now = datetime.now(UTC)
    return Sent("a@example.org", recipients or ("b@example.org",), raw, "alice", {}, nothing, True, now, protocol)


def add(mail: Servers, message: Sent) -> None:
    mail.call(lambda: mail._backend.outbox.add(message))


def test_a_repr_shows_no_body() -> None:
    assert (
        repr(sent("b@example.org", "c", "d")) == "Sent(from 'a@example.org' to 'b@example.org' and 2 more, 20 octets)"
    )


@pytest.mark.parametrize(
    ("to", "found"),
    [("b@example.org", True), ("b", True), ('"x@y"@z', True), ('"x@y"', True), ("example.org", False), ("", False)],
)
def test_a_message_is_for_an_address_or_its_local_part(to: str, found: bool) -> None:
    assert sent("b@example.org", '"x@y"@z').is_for(to) == found
    assert local_part("b") == "b"


def test_the_outbox_keeps_the_newest() -> None:
    outbox = Outbox(most_messages=3, most_octets=100)
    for number in range(5):
        outbox.add(sent(str(number)))
    assert [message.recipients for message in outbox.messages()] == [("2",), ("3",), ("4",)]
    outbox.add(sent("5", raw=b"x" * 90))
    assert [message.recipients for message in outbox.messages()] == [("5",)]
    outbox.add(sent("6", raw=b"x" * 200))  # one that is too large by itself is kept for whoever waits for it
    assert [message.recipients for message in outbox.messages()] == [("6",)]
    outbox.add(sent("7"))
    assert [message.recipients for message in outbox.messages()] == [("7",)]
    outbox.clear()
    for number in range(3):
        outbox.add(sent(str(number)))
    assert len(outbox.messages()) == 3


def test_who_watches_is_told_of_each_message_until_it_stops() -> None:
    outbox, seen = Outbox(), []
    stop = outbox.watch(seen.append)
    outbox.add(first := sent("1"))
    stop()
    outbox.add(sent("2"))
    assert seen == [first]


def test_waiting_returns_what_is_there_already(mail: Servers) -> None:
    for to in ("1", "2", "1"):
        add(mail, sent(to))
    messages = mail.smtp.messages
    assert mail.smtp.wait(timeout=0) is messages[0]
    assert mail.smtp.wait(3, timeout=0) is messages[2]
    assert mail.smtp.wait(to="2", timeout=0) is messages[1]
    assert mail.smtp.wait(2, to="1", timeout=0) is messages[2]


def test_waiting_ends_with_the_message_that_is_waited_for(mail: Servers) -> None:
    found: list[Sent] = []
    waiting = threading.Thread(target=lambda: found.append(mail.smtp.wait(2, timeout=30, to="bob")))
    waiting.start()
    for message in (sent("bob@example.org"), sent("eve"), sent("bob", protocol="lmtp"), last := sent("bob")):
        add(mail, message)
    waiting.join(30)
    assert found == [last]
    assert mail._backend.outbox._expected == {}


def test_a_wait_in_vain_tells_what_came(mail: Servers) -> None:
    with pytest.raises(TimeoutError, match=r"not 1 message in 0 seconds: nothing came\Z"):
        mail.smtp.wait(timeout=0)
    add(mail, sent("eve@example.org", raw=b"a-secret"))
    with pytest.raises(TimeoutError) as caught:
        mail.smtp.wait(2, 0.01, to="bob")
    assert str(caught.value) == (
        "not 2 messages to 'bob' in 0.01 seconds: 1 came: from 'a@example.org' to 'eve@example.org'"
    )
    for _ in range(20):
        add(mail, sent("eve"))
    with pytest.raises(TimeoutError, match="21 came, at last: from") as caught:
        mail.smtp.wait(22, 0)
    assert str(caught.value).count("eve") == 10
    assert mail._backend.outbox._expected == {}


def test_there_is_no_message_of_number_zero(mail: Servers) -> None:
    with pytest.raises(UsageError, match="counted from 1"):
        mail.smtp.wait(0)


def test_the_servers_loop_is_not_made_to_wait_for_itself() -> None:
    async def run() -> None:
        async with reference.serving() as servers:
            with pytest.raises(UsageError, match="wait_async"):
                servers.smtp.wait()
            waiting = asyncio.create_task(servers.smtp.wait_async(timeout=30))
            await asyncio.sleep(0)
            message = sent("bob")
            servers._backend.outbox.add(message)
            assert await waiting is message
            with pytest.raises(TimeoutError, match="not 2 messages in 0 seconds: 1 came"):
                await servers.smtp.wait_async(2, 0)
            assert servers._backend.outbox._expected == {}
        assert servers.smtp.messages == (message,)

    asyncio.run(run())


def test_another_loop_waits_too(mail: Servers) -> None:
    async def run() -> None:
        waiting = asyncio.create_task(mail.smtp.wait_async(timeout=30, to="bob"))
        cancelled = asyncio.create_task(mail.smtp.wait_async(timeout=30, to="bob"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        message = sent("bob")
        await asyncio.to_thread(add, mail, message)
        assert await waiting is message
        assert mail._backend.outbox._expected == {}

    asyncio.run(run())


def test_the_other_servers_have_no_messages(mail: Servers) -> None:
    add(mail, sent("bob"))
    assert mail.imap.messages == mail.pop.messages == mail.lmtp.messages == ()
