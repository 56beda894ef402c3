//! A [`Ruleset`] as netlink messages: tables, chains, and what a rule's matches and verdict are for the kernel.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nftnl::expr::{self, CmpOp, InterfaceName, Register};
use nftnl::{MsgType, ProtoFamily, nft_expr};

use super::socket::NamedBatch;
use super::text::{bad_text, interface, name, purpose};
use super::{Chain, ChainKind, Family, Hook, MAX_OBJECTS, Match, NftError, Policy, Rule, Ruleset, Transport, Verdict};

/// Adding a table that exists does nothing, so adding and deleting removes it in either case.
pub(super) fn deletion(family: Family, table: &str) -> Result<NamedBatch, NftError> {
    let title = format!("table {family} {table}");
    let table = nftnl::Table::new(name("table", table)?, family.kernel());
    let mut batch = NamedBatch::new();
    batch.add(&table, MsgType::Add, format!("find {title}"));
    batch.add(&table, MsgType::Del, format!("delete {title}"));
    Ok(batch)
}

impl Ruleset {
    /// Add, delete and add again: whether the table was there or not, it is empty then.
    pub(super) fn to_batch(&self) -> Result<NamedBatch, NftError> {
        self.check()?;
        let title = self.title();
        let table = nftnl::Table::new(name("table", &self.table)?, self.family.kernel());
        let mut batch = NamedBatch::new();
        batch.add(&table, MsgType::Add, format!("find {title}"));
        batch.add(&table, MsgType::Del, format!("empty {title}"));
        batch.add(&table, MsgType::Add, format!("add {title}"));
        self.add_chains(&table, &mut batch)?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), NftError> {
        let count = self.chains.iter().map(|chain| 1 + chain.rules.len()).sum();
        if count <= MAX_OBJECTS {
            return Ok(());
        }
        Err(NftError::TooMany { table: self.table.clone(), count })
    }

    /// All chains before the first rule: a rule may jump to any of them.
    fn add_chains(&self, table: &nftnl::Table, batch: &mut NamedBatch) -> Result<(), NftError> {
        let mut kernel_chains = Vec::new();
        for chain in &self.chains {
            let kernel_chain = chain.to_kernel(table)?;
            let what = format!("add chain {} to {}", chain.name, self.title());
            batch.add(&kernel_chain, MsgType::Add, what);
            kernel_chains.push(kernel_chain);
        }
        for (chain, kernel_chain) in self.chains.iter().zip(&kernel_chains) {
            self.add_rules(chain, kernel_chain, batch)?;
        }
        Ok(())
    }

    fn add_rules(
        &self,
        chain: &Chain,
        kernel_chain: &nftnl::Chain<'_>,
        batch: &mut NamedBatch,
    ) -> Result<(), NftError> {
        for rule in &chain.rules {
            let Rule { purpose, .. } = rule;
            let what = format!("add rule `{purpose}` to chain {} of {}", chain.name, self.title());
            batch.add(&rule.to_kernel(self.family, kernel_chain)?, MsgType::Add, what);
        }
        Ok(())
    }
}

impl Chain {
    fn to_kernel<'a>(&self, table: &'a nftnl::Table) -> Result<nftnl::Chain<'a>, NftError> {
        let mut chain = nftnl::Chain::new(name("chain", &self.name)?, table);
        if let Some(base) = self.base {
            chain.set_type(base.kind.kernel());
            chain.set_hook(base.hook.kernel(), base.priority);
            chain.set_policy(base.policy.kernel());
        }
        Ok(chain)
    }
}

impl Rule {
    fn to_kernel<'a>(&self, family: Family, chain: &'a nftnl::Chain<'_>) -> Result<nftnl::Rule<'a>, NftError> {
        let mut rule = nftnl::Rule::new(chain);
        let comment = purpose(&self.purpose)?;
        rule.set_comment(comment).map_err(|why| bad_text("purpose", &self.purpose, why))?;
        if family == Family::Inet && self.matches.iter().any(Match::reads_ipv4_header) {
            only_ipv4(&mut rule);
        }
        for wanted in &self.matches {
            wanted.add_to(&mut rule)?;
        }
        if self.counter {
            rule.add_expr(&nft_expr!(counter));
        }
        self.verdict.add_to(&mut rule)?;
        Ok(rule)
    }
}

impl Match {
    fn reads_ipv4_header(&self) -> bool {
        matches!(self, Self::SourceNet(_) | Self::DestinationNet(_))
    }

    fn add_to(&self, rule: &mut nftnl::Rule<'_>) -> Result<(), NftError> {
        match self {
            Self::InInterface(name) => {
                compare_link(rule, &nft_expr!(meta iifname), CmpOp::Eq, name)?;
            }
            Self::OutInterface(name) => {
                compare_link(rule, &nft_expr!(meta oifname), CmpOp::Eq, name)?;
            }
            Self::NotOutInterface(name) => {
                compare_link(rule, &nft_expr!(meta oifname), CmpOp::Neq, name)?;
            }
            Self::SourceNet(net) => compare_net(rule, &nft_expr!(payload ipv4 saddr), net),
            Self::DestinationNet(net) => compare_net(rule, &nft_expr!(payload ipv4 daddr), net),
            Self::Established => established(rule),
            Self::DestinationPort(transport, port) => destination_port(rule, *transport, *port),
        }
        Ok(())
    }
}

impl Verdict {
    fn add_to(&self, rule: &mut nftnl::Rule<'_>) -> Result<(), NftError> {
        match self {
            Self::Accept => rule.add_expr(&nft_expr!(verdict accept)),
            Self::Drop => rule.add_expr(&nft_expr!(verdict drop)),
            Self::Masquerade => rule.add_expr(&nft_expr!(masquerade)),
            Self::Dnat(address, port) => translate(rule, *address, *port),
            Self::Jump(chain) => {
                let chain = name("chain", chain)?;
                rule.add_expr(&nft_expr!(verdict jump chain));
            }
        }
        Ok(())
    }
}

/// In an inet table the IPv4 header is only there once the packet is known to be IPv4.
fn only_ipv4(rule: &mut nftnl::Rule<'_>) {
    rule.add_expr(&nft_expr!(meta nfproto));
    rule.add_expr(&nft_expr!(cmp == ProtoFamily::Ipv4 as u8));
}

fn compare_link(rule: &mut nftnl::Rule<'_>, which: &expr::Meta, how: CmpOp, name: &str) -> Result<(), NftError> {
    let name = InterfaceName::Exact(interface(name)?);
    rule.add_expr(which);
    rule.add_expr(&expr::Cmp::new(how, name));
    Ok(())
}

fn compare_net(rule: &mut nftnl::Rule<'_>, which: &expr::Payload, net: &Ipv4Net) {
    rule.add_expr(which);
    if net.prefix_len() < 32 {
        rule.add_expr(&nft_expr!(bitwise mask net.netmask(), xor 0u32));
    }
    rule.add_expr(&nft_expr!(cmp == net.network()));
}

fn established(rule: &mut nftnl::Rule<'_>) {
    let states = expr::ct::States::ESTABLISHED | expr::ct::States::RELATED;
    rule.add_expr(&nft_expr!(ct state));
    rule.add_expr(&nft_expr!(bitwise mask states.bits(), xor 0u32));
    rule.add_expr(&nft_expr!(cmp != 0u32));
}

/// `dport` lies at the same place for TCP and UDP, in network byte order.
fn destination_port(rule: &mut nftnl::Rule<'_>, transport: Transport, port: u16) {
    rule.add_expr(&nft_expr!(meta l4proto));
    rule.add_expr(&nft_expr!(cmp == transport.number()));
    rule.add_expr(&nft_expr!(payload tcp dport));
    rule.add_expr(&nft_expr!(cmp == port.to_be()));
}

fn translate(rule: &mut nftnl::Rule<'_>, address: Ipv4Addr, port: u16) {
    rule.add_expr(&expr::Immediate::new(address.octets(), Register::Reg1));
    rule.add_expr(&expr::Immediate::new(port.to_be_bytes(), Register::Reg2));
    rule.add_expr(&expr::Nat {
        nat_type: expr::NatType::DNat,
        family: ProtoFamily::Ipv4,
        ip_register: Register::Reg1,
        port_register: Some(Register::Reg2),
    });
}

impl Transport {
    /// `IPPROTO_TCP` and `IPPROTO_UDP` of `linux/in.h`.
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl Family {
    pub(super) fn kernel(self) -> ProtoFamily {
        match self {
            Self::Inet => ProtoFamily::Inet,
            Self::Ip => ProtoFamily::Ipv4,
        }
    }
}

impl ChainKind {
    fn kernel(self) -> nftnl::ChainType {
        match self {
            Self::Filter => nftnl::ChainType::Filter,
            Self::Nat => nftnl::ChainType::Nat,
        }
    }
}

impl Hook {
    fn kernel(self) -> nftnl::Hook {
        match self {
            Self::Prerouting => nftnl::Hook::PreRouting,
            Self::Input => nftnl::Hook::In,
            Self::Forward => nftnl::Hook::Forward,
            Self::Output => nftnl::Hook::Out,
            Self::Postrouting => nftnl::Hook::PostRouting,
        }
    }
}

impl Policy {
    fn kernel(self) -> nftnl::Policy {
        match self {
            Self::Accept => nftnl::Policy::Accept,
            Self::Drop => nftnl::Policy::Drop,
        }
    }
}
