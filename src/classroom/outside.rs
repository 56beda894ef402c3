//! The way in from outside, as root sees it: the service's token, and what the tunnel is told.

use super::removed;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::config::Config;
use crate::config::secrets::Secret;
use crate::config::tunnel::TunnelKind;
use crate::host::{Host, Result, accounts, files};
use crate::tunnel::told::{FILE, Order};
use std::path::Path;

/// The account of the tunnel.
pub const ACCOUNT: &str = "gpucloud-tunnel";
/// What the service knows this machine by, for root alone.
const TOKEN: &str = "/var/lib/gpucloud/classroom/tunnel.token";
/// No service's is longer: Cloudflare's have some 200 letters.
const LONGEST: usize = 4096;

/// The service's token, if one was given.
///
/// # Errors
/// It cannot be read.
pub fn token(host: &Host) -> Result<Option<Secret>> {
    let text = files::read_text(host, TOKEN)?.unwrap_or_default();
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::of))
}

/// Whether a service can know anybody by it: one word, which stands in configuration files of others. That of pagekite parts its
/// words by colons.
pub fn is_token(kind: TunnelKind, text: &str) -> bool {
    (8..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !(kind == TunnelKind::Pagekite && text.contains(':'))
}

/// Keeps another token.
///
/// # Errors
/// The file cannot be written.
pub fn set_token(host: &Host, token: &Secret) -> Result<()> {
    files::write(host, Path::new(TOKEN), format!("{}\n", token.expose()).as_bytes(), 0o600, None)
}

/// Tells it to the tunnel that runs with these answers.
///
/// # Errors
/// The file cannot be written.
pub fn tell(host: &Host, config: &Config) -> Result<()> {
    write(host, &order(host, config)?)
}

fn order(host: &Host, config: &Config) -> Result<Order> {
    let tunnel = &config.tunnel;
    Ok(Order {
        kind: tunnel.kind,
        address: tunnel.address.to_string(),
        server: tunnel.server.to_string(),
        token: token(host)?.map_or_else(String::new, |token| token.expose().to_owned()),
        portal: tunnel.portal(),
        is_counted: tunnel.requests > 0,
    })
}

fn write(host: &Host, order: &Order) -> Result<()> {
    let owner = accounts::owner("root", ACCOUNT)?;
    files::write(host, Path::new(FILE), &order.text()?, 0o640, Some(owner))
}

/// Tells the tunnel what there is to hold, as a task of a plan.
pub fn told(config: Config) -> Task {
    let again = config.clone();
    let probe = move |host: &Host| {
        let is_told =
            Order::read(host, Path::new(FILE)).is_ok_and(|told| order(host, &config).is_ok_and(|it| it == told));
        Ok(Checked::done_if(is_told, "tell it"))
    };
    let work = move |host: &Host| write(host, &order(host, &again)?);
    let id = ActionId::new("tunnel-told", FILE);
    // It holds the token, and its group goes with the tunnel.
    Task::new(id, "Tell the tunnel where it leads", probe, work).undone_by(removed(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        for good in ["2abCdEf_0123456789", "eyJhIjoiYWJj-_=.", "secret12"] {
            assert!(is_token(TunnelKind::Frp, good), "{good}");
        }
        for bad in ["", "short", "two words here", "a\nservice_on = http", "käse-und-wein"] {
            assert!(!is_token(TunnelKind::Frp, bad), "{bad}");
        }
        assert!(!is_token(TunnelKind::Frp, &"a".repeat(LONGEST + 1)));
        assert!(is_token(TunnelKind::Frp, "with:colon") && !is_token(TunnelKind::Pagekite, "with:colon"));
    }
}
