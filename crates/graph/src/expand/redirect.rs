//! Where a redirection leads.

/// A URL, or a path of the same host, without a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `None` for the host that was asked.
    pub origin: Option<Origin>,
    /// Begins with a slash.
    pub path: String,
}

/// The part of a URL before its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// In lower case.
    pub host: String,
    /// The scheme's own where the URL names none.
    pub port: u16,
}

impl Destination {
    /// Reads one. `None`: it is neither a path nor an `http` or `https` URL, or has something in it that a header can't hold, a query, a
    /// fragment, or a user.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| {
            byte.is_ascii_graphic()
                && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        };
        if !text.bytes().all(fits) {
            return None;
        }
        // A browser takes `//host` for another host.
        if text.starts_with('/') && !text.starts_with("//") {
            return Some(Self { origin: None, path: text.to_owned() });
        }
        let schemes = [("https", 443), ("http", 80)];
        let (scheme, default, rest) = schemes.into_iter().find_map(|(scheme, port)| {
            let rest = text.strip_prefix(scheme)?.strip_prefix("://")?;
            Some((scheme, port, rest))
        })?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
            None => (authority, default),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return None;
        }
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Some(Self { origin: Some(Origin { scheme, host: host.to_ascii_lowercase(), port }), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_leads_to_a_url_or_to_a_path() {
        let url = Destination::parse("https://Docs.example.org/new").unwrap();
        let origin = Origin { scheme: "https", host: "docs.example.org".to_owned(), port: 443 };
        assert_eq!(url, Destination { origin: Some(origin), path: "/new".to_owned() });
        assert_eq!(Destination::parse("http://acme.localhost:7080").unwrap().origin.unwrap().port, 7080);
        assert_eq!(Destination::parse("/new").unwrap(), Destination { origin: None, path: "/new".to_owned() });
        for text in [
            "",
            "new",
            "//evil.example",
            "ftp://a.example",
            "https://",
            "https://a b",
            "https://a/?q=1",
            "https://a/#x",
            "https://user@a/",
            "https://a:0/",
            "https://a:70000/",
            "https://-a/",
            "https://a..b/",
            "/a\r\nSet-Cookie: x=1",
            "/ü",
            "javascript:alert(1)",
            "https://a:b/",
            "/{x}",
        ] {
            assert_eq!(Destination::parse(text), None, "{text}");
        }
    }
}
