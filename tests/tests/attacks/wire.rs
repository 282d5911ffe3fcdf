//! What a client tries on the router, on behalf of a tenant or of nobody: headers, paths, framing.

use crate::attack::{Attack, Boundary::Header, client};

pub(crate) const ATTACKS: &[Attack] = &[
    client(
        "forges the address that it comes from",
        Header,
        "any('6.6.6.6' in value for value in values(get('/e', 'X-Forwarded-For: 6.6.6.6'), 'x-forwarded-for')) and broken()",
    ),
    client(
        "forges its address in another letter case",
        Header,
        "any('6.6.6.6' in value for value in values(get('/e', 'x-fOrWARDED-for: 6.6.6.6'), 'x-forwarded-for')) and broken()",
    ),
    client(
        "forges its address with an underscore",
        Header,
        "any('6.6.6.6' in value for value in values(get('/e', 'X_Forwarded_For: 6.6.6.6'), 'x-forwarded-for')) and broken()",
    ),
    client(
        "forges its address in Forwarded",
        Header,
        "any('6.6.6.6' in value for value in values(get('/e', 'Forwarded: for=6.6.6.6'), 'forwarded')) and broken()",
    ),
    client(
        "forges its address in X-Real-IP",
        Header,
        "any('6.6.6.6' in value for value in values(get('/e', 'X-Real-IP: 6.6.6.6'), 'x-real-ip')) and broken()",
    ),
    client(
        "forges the host that it asked for",
        Header,
        "any('evil' in value for value in values(get('/e', 'X-Forwarded-Host: evil.example'), 'x-forwarded-host')) and broken()",
    ),
    client(
        "forges the scheme that it came by",
        Header,
        "'https' in values(get('/e', 'X-Forwarded-Proto: https'), 'x-forwarded-proto') and broken()",
    ),
    client(
        "has its address taken away as a header of the connection",
        Header,
        r#"
answer = get("/e", "Connection: close, X-Forwarded-For", "X-Forwarded-For: 6.6.6.6")
told(answer) and not [value for value in values(answer, "x-forwarded-for") if "6.6.6.6" not in value] and broken()
"#,
    ),
    client("asks for two hosts", Header, "told(get('/e', 'Host: other.localhost')) and broken()"),
    client(
        "asks for a host with a name and a password in it",
        Header,
        "told(get('/e', host='evil@' + P['host'])) and broken()",
    ),
    client("asks for a host with white space in it", Header, "told(get('/e', host=P['host'] + ' evil')) and broken()"),
    client(
        "asks for a host in HTTP/1.1 without naming it",
        Header,
        "told(talk(b'GET /e HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n')) and broken()",
    ),
    client(
        "leads the router to the platform's API",
        Header,
        r#"
answer = talk(f"GET http://127.0.0.1:{P['api_port']}/health/live HTTP/1.1\r\nHost: 127.0.0.1:{P['api_port']}\r\nConnection: close\r\n\r\n".encode(), P["proxy"])
answer.startswith(b"HTTP/1.1 200") and broken()
"#,
    ),
    client(
        "makes a tunnel through the router",
        Header,
        "b' 200' in talk(f'CONNECT 127.0.0.1:{P[\"api_port\"]} HTTP/1.1\\r\\nHost: {P[\"host\"]}\\r\\n\\r\\n'.encode()).split(b'\\r\\n')[0] and broken()",
    ),
    client(
        "leaves the path of a route by dots",
        Header,
        "told(get('/public/../admin', host=P['narrow'])) and broken()",
    ),
    client(
        "leaves the path of a route by escaped dots",
        Header,
        "told(get('/public/%2e%2e/admin', host=P['narrow'])) and broken()",
    ),
    client(
        "leaves the path of a route by half escaped dots",
        Header,
        "told(get('/public/.%2E/admin', host=P['narrow'])) and broken()",
    ),
    client(
        "leaves the path of a route by an escaped slash",
        Header,
        "told(get('/public/..%2fadmin', host=P['narrow'])) and broken()",
    ),
    client(
        "leaves the path of a route by a backslash",
        Header,
        "told(get('/public/..\\\\admin', host=P['narrow'])) and broken()",
    ),
    client(
        "leaves the path of a route by an escaped backslash",
        Header,
        "told(get('/public/..%5cadmin', host=P['narrow'])) and broken()",
    ),
    client(
        "leaves the path of a route by parameters",
        Header,
        "told(get('/public/..;/admin', host=P['narrow'])) and broken()",
    ),
    client(
        "comes to a route's path by dots",
        Header,
        "told(get('/admin/../public/../admin', host=P['narrow'])) and broken()",
    ),
    client("doubles the first slash", Header, "told(get('//admin', host=P['narrow'])) and broken()"),
    client("goes beside the path of a route", Header, "told(get('/publicity', host=P['narrow'])) and broken()"),
    client(
        "upgrades to HTTP/2 behind the router's back",
        Header,
        "'h2c' in values(get('/e', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'), 'upgrade') and broken()",
    ),
    client(
        "adds headers behind the body",
        Header,
        "any('6.6.6.6' in value for value in values(get('/e', 'Transfer-Encoding: chunked', 'Trailer: X-Forwarded-For', method='POST', body=b'0\\r\\nX-Forwarded-For: 6.6.6.6\\r\\n\\r\\n'), 'x-forwarded-for')) and broken()",
    ),
    client(
        "adds credentials behind the body",
        Header,
        "values(get('/e', 'Transfer-Encoding: chunked', method='POST', body=b'0\\r\\nAuthorization: Basic x\\r\\n\\r\\n'), 'authorization') and broken()",
    ),
    smuggled("smuggles a request by a length and chunks", "'Content-Length: {}', 'Transfer-Encoding: chunked'"),
    smuggled("smuggles a request by chunks with an underscore", "'Content-Length: {}', 'Transfer_Encoding: chunked'"),
    smuggled(
        "smuggles a request by chunks before a colon with a blank",
        "'Content-Length: {}', 'Transfer-Encoding : chunked'",
    ),
    smuggled("smuggles a request by chunks in another coding", "'Content-Length: {}', 'Transfer-Encoding: xchunked'"),
    smuggled(
        "smuggles a request by chunks on a folded line",
        "'Content-Length: {}', 'X: y', ' z', 'Transfer-Encoding:', ' chunked'",
    ),
    smuggled(
        "smuggles a request by chunks named twice",
        "'Content-Length: {}', 'Transfer-Encoding: identity', 'Transfer-Encoding: chunked'",
    ),
    smuggled(
        "smuggles a request by chunks behind a bare line feed",
        "'Content-Length: {}', 'X: y\\nTransfer-Encoding: chunked'",
    ),
    client(
        "smuggles a request by two lengths",
        Header,
        r#"
inner = f"GET /smuggled-two HTTP/1.1\r\nHost: {P['narrow']}\r\n\r\n"
get("/public/e", "Connection: keep-alive", "Content-Length: 0", f"Content-Length: {len(inner)}", host=P["narrow"], method="POST", body=inner.encode(), wait=0.6)
seen("/smuggled-two") and broken()
"#,
    ),
    client(
        "smuggles a request by a list of lengths",
        Header,
        r#"
inner = f"GET /smuggled-list HTTP/1.1\r\nHost: {P['narrow']}\r\n\r\n"
get("/public/e", "Connection: keep-alive", f"Content-Length: 0, {len(inner)}", host=P["narrow"], method="POST", body=inner.encode(), wait=0.6)
seen("/smuggled-list") and broken()
"#,
    ),
    client(
        "smuggles a request by a negative length",
        Header,
        r#"
inner = f"GET /smuggled-negative HTTP/1.1\r\nHost: {P['narrow']}\r\n\r\n"
get("/public/e", "Connection: keep-alive", "Content-Length: -1", host=P["narrow"], method="POST", body=inner.encode(), wait=0.6)
seen("/smuggled-negative") and broken()
"#,
    ),
];

/// A request within the body of another, for whoever reads the framing otherwise than the router. Nobody leads to its path.
const fn smuggled(name: &'static str, framing: &'static str) -> Attack {
    client(name, Header, framing).with_frame(
        r#"
path = f"/smuggled-{os.getpid()}-{time.monotonic_ns()}"
inner = f"0\r\n\r\nGET {path} HTTP/1.1\r\nHost: {P['narrow']}\r\n\r\n".encode()
framing = [one.replace("{}", str(len(inner))) for one in (@@)]
get("/public/e", "Connection: keep-alive", *framing, host=P["narrow"], method="POST", body=inner, wait=0.6)
seen(path) and broken()
"#,
    )
}
