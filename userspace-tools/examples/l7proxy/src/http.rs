// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The head of a request, as far as a backend is picked by it.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a client wants, and all that was read of it.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Head {
    /// Without the port; empty if the client has not told.
    pub(crate) host: String,
    /// With the query; empty if the target is no path.
    pub(crate) path: String,
    /// The head, and what came with it.
    pub(crate) bytes: Vec<u8>,
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    Malformed,
    NoBackend,
    Timeout,
    TooLarge,
    BadGateway,
}

impl Refusal {
    /// A response that ends the connection.
    pub(crate) fn answer(self) -> String {
        let status = match self {
            Self::Malformed => "400 Bad Request",
            Self::NoBackend => "404 Not Found",
            Self::Timeout => "408 Request Timeout",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::BadGateway => "502 Bad Gateway",
        };
        let length = status.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{status}\n"
        )
    }
}

/// Reads a head of at most `limit` bytes; `None` if the client closes and has said nothing.
pub(crate) async fn read(
    client: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<Head>, Refusal> {
    let mut bytes = Vec::with_capacity(limit.min(4096));
    loop {
        let seen = bytes.len();
        let room = (limit - seen) as u64;
        match client.take(room).read_buf(&mut bytes).await {
            Ok(0) | Err(_) if seen == 0 => return Ok(None),
            Ok(0) | Err(_) => return Err(Refusal::Malformed),
            Ok(_) => {}
        }
        // The end may have begun in what was there before.
        let from = seen.saturating_sub(3);
        if let Some(end) = bytes[from..]
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
        {
            let (host, path) = parse(&bytes[..from + end]).ok_or(Refusal::Malformed)?;
            return Ok(Some(Head { host, path, bytes }));
        }
        if bytes.len() >= limit {
            return Err(Refusal::TooLarge);
        }
    }
}

/// Host and path of a head without its end.
fn parse(head: &[u8]) -> Option<(String, String)> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let graphic = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if words.next().is_some() || !is_token(method) || !graphic(target) {
        return None;
    }
    let mut host = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if !is_token(name)
            || value
                .bytes()
                .any(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            return None;
        }
        if name.eq_ignore_ascii_case("host") && host.replace(value.trim()).is_some() {
            return None;
        }
    }
    match (version, host) {
        ("HTTP/1.0", _) | ("HTTP/1.1", Some(_)) => {}
        _ => return None,
    }
    let mut host = host.unwrap_or_default();
    let mut path = target;
    if let Some(rest) = target.strip_prefix("http://") {
        (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    }
    // The port, but nothing of an IPv6 address.
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        if is_port {
            name
        } else {
            host
        }
    });
    let path = if path.starts_with('/') { path } else { "" };
    Some((name.to_ascii_lowercase(), path.into()))
}

/// See RFC 9110, 5.6.2.
fn is_token(word: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET /a/b?c HTTP/1.1\r\nAccept: */*\r\nHost: Example.org:80\r\n\r\nmore";

    #[tokio::test]
    async fn heads_come_in_any_pieces() {
        for split in 1..GET.len() {
            let (first, second) = GET.as_bytes().split_at(split);
            let head = read(&mut first.chain(second), 4096).await.unwrap().unwrap();
            assert_eq!(
                (head.host.as_str(), head.path.as_str()),
                ("example.org", "/a/b?c")
            );
            assert!(GET.as_bytes().starts_with(&head.bytes), "{split}");
            assert!(head.bytes.len() >= GET.len() - 4, "{split}");
        }
    }

    #[tokio::test]
    async fn a_head_has_a_limit() {
        let length = GET.len() - 4;
        assert!(read(&mut GET.as_bytes(), length).await.is_ok());
        assert_eq!(
            read(&mut GET.as_bytes(), length - 1).await,
            Err(Refusal::TooLarge)
        );
        assert_eq!(
            read(&mut &GET.as_bytes()[..30], 4096).await,
            Err(Refusal::Malformed)
        );
        assert_eq!(read(&mut &b""[..], 4096).await, Ok(None));
    }

    #[test]
    fn targets_have_forms() {
        let parsed = |line: &str| parse(line.as_bytes()).unwrap();
        let pair = |host: &str, path: &str| (host.to_string(), path.to_string());
        assert_eq!(parsed("GET / HTTP/1.0"), pair("", "/"));
        assert_eq!(
            parsed("GET http://b.org/x HTTP/1.1\r\nHost: a.org"),
            pair("b.org", "/x")
        );
        assert_eq!(
            parsed("OPTIONS * HTTP/1.1\r\nhost: [::1]:8080"),
            pair("[::1]", "")
        );
        assert_eq!(parsed("GET / HTTP/1.1\r\nhost: [::1]"), pair("[::1]", "/"));
    }

    #[test]
    fn malformed_heads_are_refused() {
        for line in [
            "",
            "GET /",
            "GET / HTTP/1.1",
            "GET / HTTP/2.0\r\nHost: a",
            "GET  / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1 \r\nHost: a",
            "G(T / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b",
            "GET / HTTP/1.1\r\nHost: a\r\n folded",
            "GET / HTTP/1.1\r\nHost: a\nB: c",
            "GET / HTTP/1.1\r\nHost : a",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.0"), None);
    }
}
