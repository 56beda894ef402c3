//! `[tunnel]`: the way in for students outside. There is one where there is a portal. (What else a new answer needs:
//! `answers.rs`.)

use super::classroom::ClassroomAnswers;
use super::portal::PortalAnswers;
use super::values::as_text;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// A host, with or without a port ("class.example.net", "tunnel.example.net:7000"), or none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place(String);

impl Place {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The host; empty where there is none.
    pub fn host(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    fn has_port(&self) -> bool {
        self.0.contains(':')
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_host = !host.ends_with('.') && ServerName::try_from(host).is_ok();
        if text.is_empty() || is_host && port.is_none_or(is_port) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{text}` is no host with or without a port (\"class.example.net\")"))
    }
}

as_text!(Place);

/// The service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelKind {
    /// No tunnel.
    #[default]
    None,
    /// ngrok's, by its own crate.
    Ngrok,
    /// Cloudflare's.
    Cloudflared,
    /// A server of one's own, by frp.
    Frp,
    /// pagekite's, or a server of one's own.
    Pagekite,
}

/// Whether there is a way in from outside, and by which service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TunnelAnswers {
    /// The service.
    pub kind: TunnelKind,
    /// How browsers call its other end, by TLS; none where there is no tunnel.
    pub address: Place,
    /// The server that this machine connects to; none: the service's own.
    pub server: Place,
    /// Requests that the service takes in a month; 0: any number.
    pub requests: u64,
    /// The TCP port on loopback where the portal listens for it.
    pub port: u16,
}

impl Default for TunnelAnswers {
    fn default() -> Self {
        Self { kind: TunnelKind::None, address: Place::default(), server: Place::default(), requests: 0, port: 8001 }
    }
}

impl TunnelKind {
    /// The package of Debian and Ubuntu that has its program; those of the others are installed by hand.
    pub fn package(self) -> Option<&'static str> {
        (self == Self::Pagekite).then_some("pagekite")
    }
}

impl TunnelAnswers {
    /// Whether a cloud with these answers has one.
    pub fn is_wanted(&self, portal: &PortalAnswers, classroom: &ClassroomAnswers) -> bool {
        self.kind != TunnelKind::None && portal.is_wanted(classroom)
    }

    /// Where the portal listens for it.
    pub fn portal(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where browsers find the portal: "https://class.example.net/".
    pub fn url(&self) -> Option<String> {
        (!self.address.is_none()).then(|| format!("https://{}/", self.address))
    }

    /// What is wrong with it, in words.
    pub(super) fn check(&self, portal: &PortalAnswers) -> Result<(), String> {
        if self.kind == TunnelKind::None {
            return Ok(());
        }
        if self.address.is_none() {
            return Err("tunnel.address is missing: how browsers call the tunnel's other end".into());
        }
        let own_server = self.kind == TunnelKind::Frp || self.kind == TunnelKind::Pagekite && !self.server.is_none();
        if own_server && !self.server.has_port() {
            return Err("tunnel.server: the server that this machine connects to is wanted as HOST:PORT".into());
        }
        if !portal.enabled {
            return Err("tunnel.kind: there is nothing to lead to: enabled = true below [portal]".into());
        }
        if self.kind == TunnelKind::Cloudflared && !self.server.is_none() {
            return Err("tunnel.server: cloudflared knows its server itself; leave it out".into());
        }
        if self.port < 1024 || self.port == portal.port {
            return Err(format!("tunnel.port: {} is below 1024, or the portal's own", self.port));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(kind: TunnelKind, address: &str, server: &str) -> TunnelAnswers {
        let place = |text: &str| text.parse().unwrap();
        TunnelAnswers { kind, address: place(address), server: place(server), ..TunnelAnswers::default() }
    }

    #[test]
    fn what_a_kind_needs_is_asked_for() {
        let check = |answers: TunnelAnswers| answers.check(&PortalAnswers::of_new_answers());
        let without = tunnel(TunnelKind::Pagekite, "class.pagekite.me", "").check(&PortalAnswers::default());
        assert!(without.is_err_and(|said| said.contains("below [portal]")));
        for good in [
            tunnel(TunnelKind::None, "", ""),
            tunnel(TunnelKind::Cloudflared, "class.example.net", ""),
            tunnel(TunnelKind::Pagekite, "class.pagekite.me", ""),
            tunnel(TunnelKind::Pagekite, "class.example.net:8443", "front.example.net:8090"),
            tunnel(TunnelKind::Frp, "class.example.net", "front.example.net:7000"),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good:?}");
        }
        for (bad, key) in [
            (tunnel(TunnelKind::Pagekite, "", ""), "tunnel.address"),
            (tunnel(TunnelKind::Frp, "class.example.net", ""), "tunnel.server"),
            (tunnel(TunnelKind::Frp, "class.example.net", "front.example.net"), "tunnel.server"),
            (tunnel(TunnelKind::Pagekite, "class.example.net", "front.example.net"), "tunnel.server"),
            (tunnel(TunnelKind::Cloudflared, "class.example.net", "x:1"), "tunnel.server"),
            (TunnelAnswers { port: 8000, ..tunnel(TunnelKind::Pagekite, "a.b", "") }, "tunnel.port"),
            (TunnelAnswers { port: 80, ..tunnel(TunnelKind::Pagekite, "a.b", "") }, "tunnel.port"),
        ] {
            assert!(check(bad.clone()).is_err_and(|said| said.starts_with(key)), "{bad:?}");
        }
        for bad in ["https://x", "a..b", "a:b:c", "a:0", "a:99999", "a.", "a b", ":8"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn links_name_its_other_end() {
        assert_eq!(tunnel(TunnelKind::Frp, "c.example.net:8443", "f:1").url().unwrap(), "https://c.example.net:8443/");
        assert_eq!(tunnel(TunnelKind::Frp, "c.example.net:8443", "f:1").address.host(), "c.example.net");
        assert_eq!(TunnelAnswers::default().url(), None);
    }
}
