//! iptables, beside which we live: what others made with it, and single rules of theirs taken out and put back. Ours
//! are nftables ([`super::nft`]).

use super::command::Command;
use super::{Host, Result, files, nft};

/// Whether rules are loaded by the old kernel interface, which `nft` does not show: the kernel lists here the tables of
/// that one alone.
pub fn has_legacy_tables(host: &Host) -> Result<bool> {
    Ok(files::read_text(host, "/proc/net/ip_tables_names")?.is_some_and(|names| !names.trim().is_empty()))
}

/// Rules of the nat table that masquerade, as `iptables -S` prints them; where iptables is not installed nobody made
/// any.
pub fn masquerades(host: &Host) -> Vec<String> {
    let in_nftables = || nft::tables().is_ok_and(|tables| tables.iter().any(|table| table == "nat"));
    let any = files::exists(host, "/usr/sbin/iptables") && (in_nftables() || has_legacy_tables(host).unwrap_or(false));
    if !any {
        return Vec::new();
    }
    let listed = Command::new("iptables").args(["-w", "-t", "nat", "-S", "POSTROUTING"]).quiet().read(host);
    listed.unwrap_or_default().lines().filter(|line| line.ends_with("-j MASQUERADE")).map(str::to_owned).collect()
}

/// Adds a rule, given as a line of `iptables -S` without quotes in it.
pub fn add(host: &Host, table: &str, line: &str) -> Result<()> {
    Command::new("iptables").args(["-w", "-t", table]).args(line.split(' ')).run(host)
}

/// Takes such a rule out, once.
pub fn delete(host: &Host, table: &str, line: &str) -> Result<()> {
    add(host, table, &line.replacen("-A ", "-D ", 1))
}
