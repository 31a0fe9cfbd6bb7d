"""Faults at the mail servers, as a client sees them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from sasl.adapters import reference

from .conftest import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

    from .conftest import Raw

GOOD = plain("alice", "wonderland")
LOGIN = {"imap": f"C: a AUTHENTICATE PLAIN {GOOD}", "pop": f"C: AUTH PLAIN {GOOD}", "smtp": f"C: AUTH PLAIN {GOOD}"}
YES = {"imap": "S: a OK ...", "pop": "S: +OK ...", "smtp": "S: 235 ..."}
PROMPT = {"imap": "+ ", "pop": "+ ", "smtp": "334 "}
CANCELLED = {"imap": "S: a BAD ...", "pop": "S: -ERR ...", "smtp": "S: 501 ..."}
PROTOCOLS = ("imap", "pop", "smtp")


@pytest.fixture(scope="module")
def served() -> Iterator[Servers]:
    with reference.running() as servers:
        yield servers


@pytest.fixture
def faulty(served: Servers) -> Iterator[Servers]:
    """Servers with faults, all of which have to have struck at the end."""
    yield served
    unused = served.faults.unused
    served.faults.clear()
    assert unused == ()


@pytest.fixture
def opened(faulty: Servers, connect: Callable[..., Raw]) -> Callable[[str], Raw]:
    """opened("imap") -> Raw, behind the greeting; of SMTP behind EHLO."""

    def opened(protocol: str) -> Raw:
        raw = connect(faulty, protocol)
        raw.line()
        if protocol == "smtp":
            raw.send(b"EHLO me\r\n")
            while raw.line()[3:4] == "-":
                pass
        return raw

    return opened


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dropped_login_gets_no_answer_and_the_next_one_does(
    faulty: Servers, opened: Callable[[str], Raw], protocol: str
) -> None:
    fault = getattr(faulty, protocol).on("AUTHENTICATE").drop()
    opened(protocol).play(f"{LOGIN[protocol]}\nE:")
    opened(protocol).play(f"{LOGIN[protocol]}\n{YES[protocol]}")
    assert fault.hits == 1


def test_a_reset_connection_is_an_error_for_the_client(faulty: Servers, connect: Callable[..., Raw]) -> None:
    faulty.imap.on("NOOP").reset()
    raw = connect(faulty, "imap", "clear")
    raw.play("S: * OK ...\nC: a NOOP")
    with pytest.raises(ConnectionResetError):
        raw.lines.readline()


def test_a_reply_has_the_tag_unless_it_begins_as_an_untagged_line_does(
    faulty: Servers, opened: Callable[[str], Raw]
) -> None:
    faulty.imap.on("NOOP").reply("* 3 EXISTS\nNO [THROTTLED] Later")
    opened("imap").play("C: b NOOP\nS: * 3 EXISTS\nS: b NO [THROTTLED] Later\nC: c NOOP\nS: c OK Done")


def test_a_reply_of_pop_and_smtp_stands_as_it_is(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.pop.on("CAPA").reply("-ERR not now")
    faulty.smtp.on("MAIL").reply("451-4.3.0 One\n451 4.3.0 Two")
    opened("pop").play("C: CAPA\nS: -ERR not now\nC: QUIT\nS: +OK Bye")
    opened("smtp").play("C: MAIL FROM:<a@b>\nS: 451-4.3.0 One\nS: 451 4.3.0 Two\nC: NOOP\nS: 250 ...")


def test_the_greeting_may_be_another_one(faulty: Servers, connect: Callable[..., Raw]) -> None:
    faulty.imap.on("greeting").reply("* BYE Not today").close("* BYE Really")
    connect(faulty, "imap").play("S: * BYE Not today\nS: * BYE Really\nE:")


def test_octets_are_sent_as_they_are(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP").raw(b"a OK\r\x00\xff\r\n")
    raw = opened("imap")
    raw.send(b"a NOOP\r\n")
    assert raw.lines.readline() == b"a OK\r\x00\xff\r\n"


def test_what_comes_with_a_literal_that_nobody_asked_for_belongs_to_the_command(
    faulty: Servers, opened: Callable[[str], Raw]
) -> None:
    faulty.imap.on("LOGIN").reply("NO Later")
    faulty.smtp.on("BDAT").reply("451 4.3.0 Later")
    raw = opened("imap")
    raw.send(b"a LOGIN {5+}\r\nal\r\ne {3+}\r\nx\r\n\r\nb NOOP\r\n")
    raw.play("S: a NO Later\nS: b OK Done")
    raw = opened("smtp")
    raw.send(b"BDAT 8 LAST\r\nQUIT\r\n\r\nNOOP\r\n")
    raw.play("S: 451 4.3.0 Later\nS: 250 ...")


def test_a_delay_comes_before_the_answer(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP").delay(0.05)
    raw = opened("imap")
    before = time.monotonic()
    raw.play("C: a NOOP\nS: a OK Done")
    assert time.monotonic() - before >= 0.05


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_challenge_that_is_no_base64_is_cancelled_by_a_star(
    faulty: Servers, opened: Callable[[str], Raw], protocol: str
) -> None:
    faulty.faults.add(f"{protocol}:malformed-base64")
    opened(protocol).play(f"{LOGIN[protocol]}\nS: {PROMPT[protocol]}!!! this is no base64\nC: *\n{CANCELLED[protocol]}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_that_answers_a_false_challenge_logs_in_all_the_same(
    faulty: Servers, opened: Callable[[str], Raw], protocol: str
) -> None:
    getattr(faulty, protocol).on("AUTH").challenge("hello")
    opened(protocol).play(f"{LOGIN[protocol]}\nS: {PROMPT[protocol]}aGVsbG8=\nC: eA==\n{YES[protocol]}")


def test_challenges_without_end_last_until_the_client_gives_up(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.faults.add("imap:endless-challenges")
    again = "S: + YW5kIG5vdz8=\nC: eA==\n" * 50
    opened("imap").play(f"{LOGIN['imap']}\n{again}S: + YW5kIG5vdz8=\nC: *\nS: a BAD ...\nC: b NOOP\nS: b OK Done")


def test_an_error_challenge_of_ones_own_and_a_refusal(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("AUTHENTICATE").challenge('{"status":"400"}').reply("NO [AUTHENTICATIONFAILED] Invalid (Failure)")
    opened("imap").play(
        "C: a AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIGIBAQ==\nS: + eyJzdGF0dXMiOiI0MDAifQ==\nC: \n"
        "S: a NO [AUTHENTICATIONFAILED] Invalid (Failure)\nC: b NOOP\nS: b OK Done"
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_early_yes_logs_nobody_in(faulty: Servers, opened: Callable[[str], Raw], protocol: str) -> None:
    faulty.faults.add(f"{protocol}:early-yes")
    raw = opened(protocol)
    raw.play(f"{LOGIN[protocol]}\n{YES[protocol]}")
    assert getattr(faulty, protocol).sessions[-1].identity is None
    raw.send({"imap": b"b SELECT INBOX\r\n", "pop": b"STAT\r\n", "smtp": b"MAIL FROM:<a@b>\r\n"}[protocol])
    assert raw.line().startswith(("b BAD", "-ERR", "530"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_late_yes_comes_after_a_challenge_too_many(
    faulty: Servers, opened: Callable[[str], Raw], protocol: str
) -> None:
    faulty.faults.add(f"{protocol}:late-yes")
    opened(protocol).play(f"{LOGIN[protocol]}\nS: {PROMPT[protocol]}~\nC: \n{YES[protocol]}")


def test_the_end_of_a_login_may_be_another_one(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.smtp.on("AUTH:end").reply("454 4.7.0 Temporary")
    faulty.pop.on("PASS:end").reply("-ERR [SYS/TEMP] no")
    opened("smtp").play(f"{LOGIN['smtp']}\nS: 454 4.7.0 Temporary")
    opened("pop").play("C: USER alice\nS: +OK...\nC: PASS wonderland\nS: -ERR [SYS/TEMP] no")


def test_a_line_of_a_login_may_be_met_by_another_answer(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("AUTHENTICATE:continuation").reply("NO [UNAVAILABLE] Later")
    opened("imap").play(
        f"C: a AUTHENTICATE PLAIN\nS: + ~\nC: {GOOD}\nS: a NO [UNAVAILABLE] Later\n{LOGIN['imap']}\n{YES['imap']}"
    )


def test_a_challenge_between_two_lines_of_a_login_keeps_the_login(
    faulty: Servers, opened: Callable[[str], Raw]
) -> None:
    faulty.imap.on("AUTH:continuation").challenge("x")
    opened("imap").play(f"C: a AUTHENTICATE PLAIN\nS: + ~\nC: {GOOD}\nS: + eA==\nC: \n{YES['imap']}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_line_of_a_hundred_thousand_octets(faulty: Servers, opened: Callable[[str], Raw], protocol: str) -> None:
    faulty.faults.add(f"{protocol}:long-line")
    raw = opened(protocol)
    raw.play(LOGIN[protocol])
    assert raw.line() == PROMPT[protocol] + "A" * 100_000


def test_an_untagged_no_comes_before_each_answer(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.faults.add("untagged-no")
    opened("imap").play(f"{LOGIN['imap']}\nS: * NO Disk full\nS: a OK ...\nC: b NOOP\nS: * NO Disk full\nS: b OK Done")


def test_octets_come_one_by_one_and_make_the_same_lines(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.faults.add("octets")
    raw = opened("imap")
    raw.send(b"a NOOP\r\n")
    assert raw.sock.recv(100) == b"a"
    assert raw.line() == " OK Done"


def test_an_answer_is_cut_and_the_connection_closed(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP").truncate(4)
    raw = opened("imap")
    raw.send(b"a NOOP\r\n")
    assert raw.lines.read() == b"a OK"


def test_after_so_many_answers_the_server_says_goodbye(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP").after(3).close()
    opened("imap").play("C: a NOOP\nS: a OK Done\n" * 3 + "C: a NOOP\nS: * BYE ...\nE:")


def test_an_answer_may_come_first_and_the_end_then(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP").answer().then("close * BYE Connection closed. 14")
    opened("imap").play("C: a NOOP\nS: a OK Done\nS: * BYE Connection closed. 14\nE:")


def test_starttls_is_stripped_as_an_attacker_does(faulty: Servers, connect: Callable[..., Raw]) -> None:
    faulty.imap.strip_starttls()
    faulty.pop.strip_starttls()
    faulty.smtp.strip_starttls()
    raw = connect(faulty, "imap", "clear")
    assert "STARTTLS" not in raw.line()
    raw.play("C: a STARTTLS\nS: a BAD Unknown command")
    raw = connect(faulty, "pop", "clear")
    raw.play("S: +OK ...\nC: STLS\nS: -ERR Unknown command\nC: CAPA")
    assert "STLS" not in list(iter(raw.line, "."))
    raw = connect(faulty, "smtp", "clear")
    raw.play("S: 220 ...\nC: STARTTLS\nS: 502 5.5.1 Not implemented\nC: EHLO me\nS: 250-localhost")
    while (line := raw.line())[3:4] == "-":
        assert "STARTTLS" not in line


def test_capabilities_are_hidden_and_offered(faulty: Servers, connect: Callable[..., Raw]) -> None:
    faulty.imap.hide("SASL-IR")
    faulty.imap.hide("AUTH=PLAIN")
    faulty.imap.offer("X-GM-EXT-1")
    words = connect(faulty, "imap").line().replace("]", " ").split()
    assert "X-GM-EXT-1" in words
    assert not {"SASL-IR", "AUTH=PLAIN"} & set(words)
    assert "AUTH=LOGIN" in words


def test_a_fault_of_one_user_strikes_nobody_else(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP", user="alice").reply("NO Not you")
    raw = opened("imap")
    raw.play(f"C: x NOOP\nS: x OK Done\n{LOGIN['imap']}\n{YES['imap']}\nC: b NOOP\nS: b NO Not you")


def test_a_message_is_answered_otherwise_and_not_kept(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.smtp.on("DATA:end").reply("451 4.3.0 Later")
    begin = "C: MAIL FROM:<a@b>\nS: 250 ...\nC: RCPT TO:<c@d>\nS: 250 ...\n"
    raw, kept = opened("smtp"), len(faulty.smtp.messages)
    raw.play(f"{LOGIN['smtp']}\n{YES['smtp']}\n{begin}C: DATA\nS: 354 ...\nC: Subject: x\nC: .\nS: 451 4.3.0 Later")
    assert len(faulty.smtp.messages) == kept
    faulty.smtp.on("DATA:END").drop()
    raw.play(begin)
    raw.send(b"BDAT 14 LAST\r\nSubject: x\r\n\r\n")
    raw.play("E:")
    raw = opened("smtp")
    raw.play(f"{LOGIN['smtp']}\n{YES['smtp']}\n{begin}C: DATA\nS: 354 ...\nC: Subject: x\nC: .\nS: 250 ...")
    assert len(faulty.smtp.messages) == kept + 1


def test_lmtp_fails_as_smtp_does(faulty: Servers, connect: Callable[..., Raw]) -> None:
    faulty.lmtp.on("LHLO").reply("421 4.3.2 Busy").close("421 4.3.2 Bye")
    connect(faulty, "lmtp").play("S: 220 ...\nC: LHLO me\nS: 421 4.3.2 Busy\nS: 421 4.3.2 Bye\nE:")


def test_a_command_by_uid_is_the_same_event(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("FETCH", times=2).reply("NO [THROTTLED] Later")
    faulty.imap.on("UID FETCH", nth=3).drop()
    raw = opened("imap")
    raw.play(f"{LOGIN['imap']}\n{YES['imap']}\nC: b SELECT INBOX")
    while not raw.line().startswith("b OK"):
        pass
    raw.play("C: c FETCH 1:* FLAGS\nS: c NO [THROTTLED] Later\nC: d UID FETCH 1:* FLAGS\nS: d NO [THROTTLED] Later")
    raw.play("C: e UID FETCH 1:* FLAGS\nS: e OK ...\nC: f UID FETCH 1:* FLAGS\nE:")


def test_idle_ends_in_silence(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("IDLE").say_first("+ idling").then("delay 0.01; drop")
    opened("imap").play(f"{LOGIN['imap']}\n{YES['imap']}\nC: b IDLE\nS: + idling\nE:")


def test_a_yes_hides_what_the_greeting_hides(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.hide("IDLE")
    faulty.imap.offer("X-SECOND")
    raw = opened("imap")
    raw.play(LOGIN["imap"])
    words = raw.line().replace("]", " ").split()
    assert "X-SECOND" in words
    assert "IDLE" not in words


def test_octets_in_pieces_are_the_same_under_a_challenge_and_a_login(
    faulty: Servers, opened: Callable[[str], Raw]
) -> None:
    faulty.imap.on("*", times=None).split(3, 0.0001)
    opened("imap").play(f"C: a AUTHENTICATE PLAIN\nS: + ~\nC: {GOOD}\n{YES['imap']}\nC: b NOOP\nS: b OK Done")


@pytest.mark.parametrize("fault", ["hang", "slow", "imap:NOOP delay 3600"])
def test_servers_stop_at_once_although_a_client_waits_for_a_fault_to_end(
    fault: str, connect: Callable[..., Raw]
) -> None:
    with reference.running() as servers:
        servers.faults.add(fault)
        raw = connect(servers, "imap")
        raw.play(f"S: * OK ...\n{LOGIN['imap']}" if fault != "imap:NOOP delay 3600" else "S: * OK ...\nC: a NOOP")
        before = time.monotonic()
    assert time.monotonic() - before < 1
    assert raw.rest() in ([], ["* BYE The server shuts down"])


def test_a_hang_outlasts_the_deadline_and_ends_when_the_client_goes(connect: Callable[..., Raw]) -> None:
    with reference.running(settings=reference.Settings(deadline=0.2)) as servers:
        servers.imap.on("AUTH").hang()
        raw = connect(servers, "imap", "clear")
        raw.play(f"S: * OK ...\n{LOGIN['imap']}")
        raw.sock.settimeout(0.4)
        with pytest.raises(TimeoutError):
            raw.sock.recv(1)
        raw.send(b"*\r\nb LOGOUT\r\n")
        raw.close()
        while servers.log.sessions[-1].ended is None:
            time.sleep(0.001)


def test_what_a_fault_answers_stands_in_the_transcript_without_the_credential(
    faulty: Servers, opened: Callable[[str], Raw]
) -> None:
    faulty.imap.on("AUTH").reply("NO Later")
    opened("imap").play(f"{LOGIN['imap']}\nS: a NO Later\n{LOGIN['imap']}\n{YES['imap']}")
    said = list(faulty.imap.sessions[-1].transcript)[1:4]
    assert said == [("C", "a AUTHENTICATE <30 octets>"), ("S", "a NO Later"), ("C", "a AUTHENTICATE PLAIN <17 octets>")]


@pytest.mark.parametrize("event", ["AUTH", "AUTH:continuation"])
def test_a_challenge_that_is_cut_ends_the_connection_at_once_and_nobody_is_accused(
    faulty: Servers, opened: Callable[[str], Raw], event: str
) -> None:
    faulty.imap.on(event).truncate(4)
    raw = opened("imap")
    if event == "AUTH":
        raw.send(b"a AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIGIBAQ==\r\n")
    else:
        raw.play("C: a AUTHENTICATE XOAUTH2\nS: + ~\nC: dXNlcj1hAWF1dGg9QmVhcmVyIGIBAQ==")
    assert raw.lines.read() == b"+ ey"
    assert "challenge-unanswered" not in [verdict.name for verdict in faulty.verdicts]


def test_a_line_of_a_login_may_be_answered_and_the_connection_dropped(
    faulty: Servers, opened: Callable[[str], Raw]
) -> None:
    faulty.imap.on("AUTH:continuation").then("answer; drop")
    opened("imap").play("C: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: YWxpY2U=\nS: + ...\nE:")


def test_what_several_faults_want_done_is_done_once(faulty: Servers, opened: Callable[[str], Raw]) -> None:
    faulty.imap.on("NOOP").then("answer; say_first * 1 EXISTS")
    faulty.imap.on("NOOP").then("answer; say_first * 2 EXISTS")
    opened("imap").play("C: a NOOP\nS: a OK Done\nS: * 1 EXISTS\nS: * 2 EXISTS\nC: b NOOP\nS: b OK Done")
