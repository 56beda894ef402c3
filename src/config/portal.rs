//! `[portal]`: the page that students open. There is one where there are notebooks. (What else a new answer needs:
//! `answers.rs`.)

use super::classroom::ClassroomAnswers;
use super::values::{as_text, checked_name};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

checked_name! {
    /// A name of this machine, as browsers call it.
    PageName, 253, "a name that browsers call this machine by (\"gpu.example.edu\")",
    |i, c| c.is_ascii_alphanumeric() || (i > 0 && "-.".contains(c))
}

/// Whether there is a page for students, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PortalAnswers {
    /// Whether there is one, where there are notebooks.
    pub enabled: bool,
    /// Its TCP port, on every address of this machine.
    pub port: u16,
    /// How browsers call this machine, beside its addresses; links name the first.
    pub names: Vec<PageName>,
    /// Who vouches for it.
    pub tls: PageTls,
}

/// Who vouches for the page, so that tokens pass unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageTls {
    /// An authority of this machine's own: browsers warn until they are told to trust it.
    Own,
    /// Nobody: whoever is on the way reads tokens and notebooks.
    #[default]
    None,
}

/// What an older release's answers mean: that had none.
impl Default for PortalAnswers {
    fn default() -> Self {
        Self { enabled: false, port: 8000, names: Vec::new(), tls: PageTls::None }
    }
}

impl PortalAnswers {
    /// What new answers say.
    pub fn of_new_answers() -> Self {
        Self { enabled: true, tls: PageTls::Own, ..Self::default() }
    }

    /// Whether a cloud with these answers has one.
    pub fn is_wanted(&self, classroom: &ClassroomAnswers) -> bool {
        self.enabled && classroom.enabled
    }

    /// Whether browsers speak TLS with it.
    pub fn is_secure(&self) -> bool {
        self.tls == PageTls::Own
    }

    /// Where browsers find it, on a machine of this address: "https://gpu.example.edu:8000/".
    pub fn url(&self, address: Ipv4Addr) -> String {
        let host = self.names.first().map_or_else(|| address.to_string(), ToString::to_string);
        let scheme = if self.is_secure() { "https" } else { "http" };
        format!("{scheme}://{host}:{}/", self.port)
    }

    /// What is wrong with it by itself, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        // Lower ones are root's, which the portal is not.
        if self.port < 1024 {
            return Err(format!("portal.port: {} is not between 1024 and 65535", self.port));
        }
        let is_name = |name: &&PageName| !name.as_str().ends_with('.') && ServerName::try_from(name.as_str()).is_ok();
        if let Some(bad) = self.names.iter().find(|name| !is_name(name)) {
            return Err(format!("portal.names: \"{bad}\" is no name that a machine can have"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_what_browsers_call_this_machine() {
        let address = Ipv4Addr::new(192, 0, 2, 10);
        assert_eq!(PortalAnswers::default().url(address), "http://192.0.2.10:8000/");
        let names = vec!["gpu.example.edu".parse().unwrap()];
        assert_eq!(PortalAnswers { names, ..PortalAnswers::default() }.url(address), "http://gpu.example.edu:8000/");
        assert_eq!(PortalAnswers::of_new_answers().url(address), "https://192.0.2.10:8000/");
        for bad in ["http://x", "x:8000", "-x", "a b", ""] {
            assert!(bad.parse::<PageName>().is_err(), "{bad}");
        }
        assert!(
            PortalAnswers { port: 80, ..PortalAnswers::default() }.check().unwrap_err().contains("portal.port: 80")
        );
        for bad in ["a..b", "gpu-.example.edu", "gpu.example.edu."] {
            let names = vec![bad.parse().unwrap()];
            let said = PortalAnswers { names, ..PortalAnswers::default() }.check();
            assert!(said.as_ref().is_err_and(|said| said.contains("portal.names")), "{bad}: {said:?}");
        }
    }
}
