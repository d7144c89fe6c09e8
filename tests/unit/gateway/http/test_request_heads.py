"""Which request heads are accepted, and how; and the corpus of malformed and ambiguous ones."""

import pytest

from gateway.http.heads import CHUNKED, FieldNames, Refusal, RequestHead, RequestHeadParser, parse_request_head
from gateway.http.heads import render_fields as render

NAMES = FieldNames(("authorization", "accept"))
START = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"


def parse(head: bytes) -> RequestHead | Refusal:
    return parse_request_head(head, NAMES)


def accepted(head: bytes) -> RequestHead:
    parsed = parse(head)
    assert isinstance(parsed, RequestHead), parsed
    return parsed


def build(*lines: bytes) -> bytes:
    return b"\r\n".join((b"POST /v1/x HTTP/1.1", b"Host: a", *lines))


def test_a_head_as_clients_send_it():
    head = accepted(
        b"POST /v1/chat/completions?a=%20b HTTP/1.1\r\nHost: gateway.example:8001\r\nAccept-Encoding: gzip\r\n"
        b"AUTHORIZATION:Bearer mc_x\r\nX-Custom: y\r\ncontent-type: application/json\r\nContent-Length: 17\r\n"
        b"Connection: keep-alive"
    )
    assert (head.method, head.path, head.query) == ("POST", "/v1/chat/completions", "a=%20b")
    assert head.fields["authorization"] == "Bearer mc_x"
    assert set(head.fields) == {"host", "authorization", "connection"}
    assert (head.body_length, head.closes, head.is_old, head.expects_continue) == (17, False, False, False)


def test_a_path_is_percent_decoded():
    assert accepted(b"GET /v1/models/acme%2Fb HTTP/1.1\r\nHost: a").path == "/v1/models/acme/b"


def test_the_first_of_several_headers_is_kept_but_connection_options_are_joined():
    head = accepted(build(b"Accept: a", b"accept: b", b"Connection: keep-alive", b"Connection: x, Close"))
    assert head.fields["accept"] == "a"
    assert head.closes


LENGTHS = {
    b"Content-Length: 0": 0,
    b"Content-Length: 5": 5,
    b"content-length:5": 5,
    b"Content-Length:  \t5 \t": 5,
    b"Content-Length: 0005": 5,
    b"Transfer-Encoding: chunked": CHUNKED,
    b"transfer-encoding:Chunked ": CHUNKED,
    b"X-None: 1": 0,
}


@pytest.mark.parametrize(("line", "length"), LENGTHS.items())
def test_the_length_of_a_body(line, length):
    assert accepted(build(line)).body_length == length


def test_http_1_0_needs_no_host_and_closes():
    head = accepted(b"GET /health HTTP/1.0")
    assert (head.closes, head.is_old) == (True, True)


def test_a_target_may_be_a_whole_url_of_the_same_host():
    assert accepted(b"GET http://A/v1/models?x HTTP/1.1\r\nhost: a").path == "/v1/models"
    assert accepted(b"OPTIONS * HTTP/1.1\r\nhost: a").path == "*"


def test_an_upgrade_is_ignored():
    head = accepted(build(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 2"))
    assert (head.body_length, head.closes) == (2, False)


def test_an_expectation_is_recognised():
    assert accepted(build(b"Expect: 100-Continue", b"Content-Length: 2")).expects_continue


REFUSED = {
    # both lengths, in any order and spelling
    "CL.TE": build(b"Content-Length: 6", b"Transfer-Encoding: chunked"),
    "TE.CL": build(b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    "CL.TE, lower case": build(b"content-length: 6", b"transfer-encoding: chunked"),
    "CL.TE, zero": build(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    "CL.TE, identity": build(b"Content-Length: 6", b"Transfer-Encoding: identity"),
    "CL.TE, empty coding": build(b"Content-Length: 6", b"Transfer-Encoding:"),
    # transfer codings
    "TE.TE": build(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "TE.TE, second unknown": build(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    "TE.TE, first unknown": build(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"),
    "TE.TE, spelling": build(b"Transfer-Encoding: chunked", b"transfer-encoding: identity"),
    "TE list": build(b"Transfer-Encoding: chunked, chunked"),
    "TE gzip": build(b"Transfer-Encoding: gzip, chunked"),
    "TE ends otherwise": build(b"Transfer-Encoding: chunked, identity"),
    "TE prefix": build(b"Transfer-Encoding: xchunked"),
    "TE suffix": build(b"Transfer-Encoding: chunkedx"),
    "TE comma": build(b"Transfer-Encoding: ,chunked"),
    "TE quoted": build(b'Transfer-Encoding: "chunked"'),
    "TE parameter": build(b"Transfer-Encoding: chunked;q=1"),
    "TE empty": build(b"Transfer-Encoding:"),
    "TE identity": build(b"Transfer-Encoding: identity"),
    "TE vertical tab": build(b"Transfer-Encoding: \x0bchunked"),
    "TE form feed": build(b"Transfer-Encoding: chunked\x0c"),
    "TE tab": build(b"Transfer-Encoding: chunked\t"),
    "TE NUL": build(b"Transfer-Encoding: chunked\x00"),
    "TE bare CR": build(b"Transfer-Encoding: \rchunked"),
    "TE bare LF": build(b"Transfer-Encoding:\nchunked"),
    "TE folded": build(b"Transfer-Encoding:", b" chunked"),
    "TE folded by tab": build(b"Transfer-Encoding:", b"\tchunked"),
    "TE space before colon": build(b"Transfer-Encoding : chunked"),
    "TE tab before colon": build(b"Transfer-Encoding\t: chunked"),
    "TE leading space": build(b" Transfer-Encoding: chunked"),
    "TE high byte": build(b"Transfer-Encoding: chunked\xa0"),
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked",
    # Content-Length
    "CL.CL": build(b"Content-Length: 5", b"Content-Length: 5"),
    "CL.CL, different": build(b"Content-Length: 5", b"Content-Length: 6"),
    "CL.CL, spelling": build(b"Content-Length: 5", b"content-length: 5"),
    "CL list": build(b"Content-Length: 5, 5"),
    "CL list, different": build(b"Content-Length: 5,6"),
    "CL plus": build(b"Content-Length: +5"),
    "CL minus": build(b"Content-Length: -5"),
    "CL minus zero": build(b"Content-Length: -0"),
    "CL inner space": build(b"Content-Length: 5 0"),
    "CL inner tab": build(b"Content-Length: 5\t0"),
    "CL hexadecimal": build(b"Content-Length: 0x5"),
    "CL letters": build(b"Content-Length: 5a"),
    "CL underscore": build(b"Content-Length: 1_0"),
    "CL fraction": build(b"Content-Length: 5.0"),
    "CL exponent": build(b"Content-Length: 5e1"),
    "CL empty": build(b"Content-Length:"),
    "CL blank": build(b"Content-Length:  "),
    "CL quoted": build(b'Content-Length: "5"'),
    "CL semicolon": build(b"Content-Length: 5;"),
    "CL superscript": build(b"Content-Length: \xb2"),
    "CL other digits": build("Content-Length: ٥".encode()),
    "CL of 19 digits": build(b"Content-Length: 1000000000000000000"),
    "CL overflow": build(b"Content-Length: 18446744073709551621"),
    "CL very long": build(b"Content-Length: " + b"9" * 5000),
    "CL NUL": build(b"Content-Length: 5\x00"),
    "CL bare CR": build(b"Content-Length: 5\r"),
    "CL bare LF": build(b"Content-Length: 5\nX: y"),
    "CL folded": build(b"Content-Length: 5", b" 0"),
    "CL space before colon": build(b"Content-Length : 5"),
    "CL vertical tab": build(b"Content-Length:\x0b5"),
    # line ends and control characters
    "bare LF only": b"POST / HTTP/1.1\nHost: a",
    "bare LF between headers": build(b"A: b\nC: d"),
    "bare CR between headers": build(b"A: b\rC: d"),
    "bare CR at the end": build(b"A: b\r"),
    "CR CR LF": b"POST / HTTP/1.1\r\r\nHost: a",
    "LF CR": build(b"A: b\n\rC: d"),
    "bare CR and bare LF apart": build(b"A: b\rc\nd"),
    "NUL in a value": build(b"A: b\x00c"),
    "NUL in a name": build(b"A\x00: b"),
    "escape in a value": build(b"A: \x1b[31m"),
    "delete in a value": build(b"A: b\x7f"),
    "backspace in a name": build(b"A\x08: b"),
    "empty line first": b"\r\nPOST / HTTP/1.1\r\nHost: a",
    "empty line last": build(b""),
    "folded header": build(b"A: b", b" c"),
    "folded by tab": build(b"A: b", b"\tc"),
    "folded first header": b"POST / HTTP/1.1\r\n Host: a",
    # names
    "space before colon": build(b"A : b"),
    "tab before colon": build(b"A\t: b"),
    "space in a name": build(b"A b: c"),
    "no colon": build(b"AB"),
    "known name without colon": build(b"authorization"),
    "no name": build(b": b"),
    "only a colon": build(b":"),
    "parenthesis in a name": build(b"A(b): c"),
    "comma in a name": build(b"A,b: c"),
    "slash in a name": build(b"A/b: c"),
    "quote in a name": build(b'"A": c'),
    "bracket in a name": build(b"A[]: c"),
    "brace in a name": build(b"{A}: c"),
    "at in a name": build(b"A@b: c"),
    "backslash in a name": build(b"A\\b: c"),
    "high byte in a name": build(b"A\xe9: c"),
    "more than 200 headers": build(*[b"A: b"] * 200),
    # Host
    "no Host": b"GET / HTTP/1.1",
    "no Host among others": b"GET / HTTP/1.1\r\nAccept: a",
    "two Hosts": build(b"Host: a"),
    "two Hosts, different": build(b"host: b"),
    "empty Host": b"GET / HTTP/1.1\r\nHost:",
    "blank Host": b"GET / HTTP/1.1\r\nHost:   ",
    "Host with a space": b"GET / HTTP/1.1\r\nHost: a b",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: a/b",
    "Host with user": b"GET / HTTP/1.1\r\nHost: u@a",
    "Host with a query": b"GET / HTTP/1.1\r\nHost: a?b",
    "Host with a high byte": b"GET / HTTP/1.1\r\nHost: \xe9",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: a",
    # request line
    "no version": b"GET /\r\nHost: a",
    "no target": b"GET HTTP/1.1\r\nHost: a",
    "empty target": b"GET  HTTP/1.1\r\nHost: a",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a",
    "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: a",
    "space first": b" GET / HTTP/1.1\r\nHost: a",
    "space last": b"GET / HTTP/1.1 \r\nHost: a",
    "tabs": b"GET\t/\tHTTP/1.1\r\nHost: a",
    "tab in the target": b"GET /a\tb HTTP/1.1\r\nHost: a",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a",
    "high byte in the target": b"GET /\xe9 HTTP/1.1\r\nHost: a",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: a",
    "relative target": b"GET a HTTP/1.1\r\nHost: a",
    "asterisk of GET": b"GET * HTTP/1.1\r\nHost: a",
    "authority form": b"GET a:80 HTTP/1.1\r\nHost: a",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a",
    "URL of another host": b"GET http://b/ HTTP/1.1\r\nHost: a",
    "URL with user": b"GET http://a@b/ HTTP/1.1\r\nHost: a",
    "URL without path": b"GET http://a HTTP/1.1\r\nHost: a",
    "URL of another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a",
    "URL without host": b"GET http:/// HTTP/1.1\r\nHost: a",
    "unknown method": b"FOO / HTTP/1.1\r\nHost: a",
    "lower-case method": b"get / HTTP/1.1\r\nHost: a",
    "method with colon": b"GET: / HTTP/1.1\r\nHost: a",
    "method with high byte": b"G\xc9T / HTTP/1.1\r\nHost: a",
    "PRI": b"PRI * HTTP/2.0",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: a",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: a",
    "HTTP/01.1": b"GET / HTTP/01.1\r\nHost: a",
    "lower-case version": b"GET / http/1.1\r\nHost: a",
    "other protocol": b"GET / RTSP/1.0\r\nHost: a",
    "version with comma": b"GET / HTTP/1,1\r\nHost: a",
    "no version number": b"GET / HTTP/\r\nHost: a",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing": b"",
    # others
    "unknown expectation": build(b"Expect: 200-ok"),
    "two expectations": build(b"Expect: 100-continue, x"),
}


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_and_ambiguous_heads_are_refused(head):
    parsed = parse(head)
    assert isinstance(parsed, Refusal)
    assert parsed.status in {400, 417, 431, 501, 505}
    assert parsed.message.endswith(".")


def test_the_corpus_has_more_than_a_hundred_cases():
    assert len(set(REFUSED.values())) > 100


def test_a_repeated_head_is_recognised_whatever_its_length():
    parser = RequestHeadParser(NAMES)
    heads = [build(b"Authorization: Bearer x", b"Content-Length: %d" % length, b"Accept: a") for length in (5, 5, 1234)]
    first, second, third = (parser.parse(head) for head in heads)
    assert first is second
    assert isinstance(third, RequestHead)
    assert (third.body_length, third.fields["authorization"], third.path) == (1234, "Bearer x", "/v1/x")


REPEATED = {
    "other key": build(b"Authorization: Bearer y", b"Content-Length: 5", b"Accept: a"),
    "more headers": build(b"Authorization: Bearer x", b"Content-Length: 5", b"Expect: 100-continue", b"Accept: a"),
    "second length": build(b"Authorization: Bearer x", b"Content-Length: 5", b"Content-Length: 5", b"Accept: a"),
    "no digits": build(b"Authorization: Bearer x", b"Content-Length: ", b"Accept: a"),
    "sign": build(b"Authorization: Bearer x", b"Content-Length: +5", b"Accept: a"),
    "too many digits": build(b"Authorization: Bearer x", b"Content-Length: " + b"5" * 30, b"Accept: a"),
    "overlapping": build(b"Authorization: Bearer x", b"Content-Length: "),
}


@pytest.mark.parametrize("head", REPEATED.values(), ids=REPEATED.keys())
def test_a_head_that_is_nearly_the_last_one_is_parsed_anew(head):
    parser = RequestHeadParser(NAMES)
    assert isinstance(parser.parse(build(b"Authorization: Bearer x", b"Content-Length: 5", b"Accept: a")), RequestHead)
    repeated, fresh = parser.parse(head), parse(head)
    assert (repeated == fresh) if isinstance(fresh, Refusal) else (repeated.fields == fresh.fields)


def test_a_rendered_header_cannot_add_a_line():
    assert render([("x-a", "b\r\nx-c: d\x00")]) == b"x-a: bx-c: d\r\n"
