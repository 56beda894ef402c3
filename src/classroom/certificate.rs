//! The certificate by which browsers know the portal, and the authority of this machine's own that signs it. The authority
//! can vouch for web pages of this machine's names and of private networks alone, so that whoever trusts it risks
//! little elsewhere. The certificate is made anew ahead of its end, the authority where it may not sign it; how long
//! they last is here. What shows it: `portal/tls.rs`.

use super::removed;
use super::students::ACCOUNT;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::config::portal::PageName;
use crate::host::{Error, Host, Result, accounts, files};
use crate::paths::{PROGRAM, RUNTIME};
use crate::portal::tls::{self, FILE};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring};

/// The same of an authority that was here before: it is taken again where it may sign, as behind a clock that went wrong.
const BEFORE: &str = "/var/lib/gpucloud/classroom/authority-before.pem";
/// The authority's key and certificate, for root alone. It outlives the portal: whoever has browsers trust it need not do
/// so again when that is made anew.
const AUTHORITY: &str = "/var/lib/gpucloud/classroom/authority.pem";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
/// Apple's systems take 825 days from authorities that people add, others ask for no less (support.apple.com/103769).
const LIFE: Duration = DAY.saturating_mul(397);
/// It is made anew when it has less than this left.
const AHEAD: Duration = DAY.saturating_mul(60);
/// How long another command may take to make it.
const LOCK_LIMIT: Duration = Duration::from_secs(60);
/// What the authority may vouch for beside this machine's own names: addresses that the world does not route (RFC 1918),
/// and this machine to itself.
const PRIVATE: [([u8; 4], [u8; 4]); 4] = [
    ([10, 0, 0, 0], [255, 0, 0, 0]),
    ([172, 16, 0, 0], [255, 240, 0, 0]),
    ([192, 168, 0, 0], [255, 255, 0, 0]),
    ([127, 0, 0, 0], [255, 0, 0, 0]),
];
/// How this machine calls itself.
const LOOPBACK: &str = "localhost";

/// As whom browsers may call the portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// Of a machine of this address, with these names beside it.
    pub fn new(address: Ipv4Addr, names: &[PageName]) -> Self {
        let own = [LOOPBACK.to_owned(), Ipv4Addr::LOCALHOST.to_string(), address.to_string()];
        let mut all: Vec<String> =
            own.into_iter().chain(names.iter().map(|name| name.as_str().to_lowercase())).collect();
        all.sort();
        all.dedup();
        Self(all)
    }

    /// None may be vouched for that is not among them.
    fn constraints(&self) -> NameConstraints {
        let private = PRIVATE.map(|(network, mask)| CidrSubnet::V4(network, mask));
        let own = self.0.iter().map(|name| match name.parse() {
            Ok(IpAddr::V4(address)) => GeneralSubtree::IpAddress(CidrSubnet::V4(address.octets(), [255; 4])),
            Ok(IpAddr::V6(address)) => GeneralSubtree::IpAddress(CidrSubnet::V6(address.octets(), [255; 16])),
            Err(_) => GeneralSubtree::DnsName(name.clone()),
        });
        let permitted_subtrees = own.chain(private.map(GeneralSubtree::IpAddress)).collect();
        NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }
    }
}

/// A task of a plan: the portal has a certificate that is good for these names.
pub fn certified(names: Names) -> Task {
    let again = names.clone();
    let probe = move |host: &Host| {
        if is_good(host, &names) {
            return Ok(Checked::Done);
        }
        let authorities = authorities(host)?;
        let is_another = !authorities.is_empty() && !authorities.iter().any(|one| signed(one, &names).is_ok());
        let what = if is_another { "make it, by another authority: browsers are to be told again" } else { "make it" };
        Ok(Checked::needed(what))
    };
    let work = move |host: &Host| renew(host, &again).map(drop);
    let id = ActionId::new("portal-certificate", FILE);
    Task::new(id, "Make the certificate of the portal", probe, work).undone_by(removed(FILE))
}

/// What is kept of authorities, the present one first (PEM).
fn authorities(host: &Host) -> Result<Vec<String>> {
    let kept = [AUTHORITY, BEFORE].map(|path| files::read_text(host, path));
    Ok(kept.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Whether the portal's certificate is good for these names, now and for a while.
pub fn is_good(host: &Host, names: &Names) -> bool {
    let Ok(shown) = tls::read(host, Path::new(FILE)) else { return false };
    let Some(certificate) = shown.key.cert.first() else { return false };
    let is_good = |ahead| verify(&shown.authority.certificate, certificate, names, in_time(ahead));
    match is_good(Duration::ZERO).and_then(|()| is_good(AHEAD)) {
        // The clock is behind: one that is made now would be worse. It is when even this program is of a later day.
        Err(webpki::Error::CertNotValidYet { .. }) => {
            files::modified(host, PROGRAM).is_some_and(|made| made > SystemTime::now() + DAY)
        }
        other => other.is_ok(),
    }
}

/// Makes the certificate where it is not good; returns whether it did.
///
/// # Errors
/// Files cannot be read or written; a name is none that a certificate can have.
pub fn renew(host: &Host, names: &Names) -> Result<bool> {
    let lock = Path::new(RUNTIME).join("portal-certificate.lock");
    let _lock = files::lock_within(host, &lock, "the end of another command that makes the certificate", LOCK_LIMIT)?;
    if is_good(host, names) {
        return Ok(false);
    }
    let kept = authorities(host)?;
    let made = issue(&kept, names).map_err(|how| Error::protocol("make the certificate of the portal", how))?;
    if kept.first() != Some(&made.authority) {
        if let Some(before) = kept.first() {
            host.warn("the page has another authority: browsers that trusted the one before have to be told again");
            files::write(host, Path::new(BEFORE), before.as_bytes(), 0o600, None)?;
        }
        files::write(host, Path::new(AUTHORITY), made.authority.as_bytes(), 0o600, None)?;
    }
    let portal = accounts::owner("root", ACCOUNT)?;
    files::write(host, Path::new(FILE), made.shown.as_bytes(), 0o640, Some(portal))?;
    Ok(true)
}

/// What was made (PEM).
pub struct Issued {
    /// The authority's key and certificate.
    pub authority: String,
    /// What the portal shows: its key and certificate, and the authority's certificate.
    pub shown: String,
}

/// Makes a certificate for these names; by another authority than these, where none of them may sign it.
///
/// # Errors
/// In words: a name is none that a certificate can have.
pub fn issue(authorities: &[String], names: &Names) -> std::result::Result<Issued, String> {
    let kept = authorities.iter().find_map(|text| Some((text.clone(), signed(text, names).ok()?)));
    let (authority, certificate) = match kept {
        Some(both) => both,
        None => {
            let new = new_authority(names).map_err(|error| error.to_string())?;
            let certificate = signed(&new, names)?;
            (new, certificate)
        }
    };
    let public = &authority[authority.find("-----BEGIN CERTIFICATE").unwrap_or_default()..];
    let shown = certificate + public;
    Ok(Issued { authority, shown })
}

/// Key and certificate of a new authority (PEM).
fn new_authority(names: &Names) -> std::result::Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = authority_of(&key);
    lasting(&mut params, AUTHORITY_LIFE);
    params.name_constraints = Some(names.constraints());
    let certificate = params.self_signed(&key)?;
    Ok(bundle(&key, &certificate))
}

/// What of an authority follows from its key: two that one machine had are told apart by it, also by browsers.
fn authority_of(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = files::hash(key.der_bytes());
    params.distinguished_name = called(&format!("gpucloud authority {}", &id[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Names are constrained by kind: what is no web page has none here.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Key and certificate of the portal (PEM), signed by this authority and good for its whole life.
///
/// # Errors
/// In words: the authority cannot be read, may not sign these names, or ends before it.
fn signed(authority: &str, names: &Names) -> std::result::Result<String, String> {
    let said = |error: rcgen::Error| error.to_string();
    let authority_key = KeyPair::from_pem(authority).map_err(said)?;
    let signer = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|error| error.to_string())?;
    let issuer = Issuer::new(authority_of(&authority_key), authority_key);
    let key = KeyPair::generate().map_err(said)?;
    let mut params = CertificateParams::new(names.0.clone()).map_err(said)?;
    lasting(&mut params, LIFE);
    params.distinguished_name = called("gpucloud portal");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(said)?;
    verify(&signer, certificate.der(), names, in_time(LIFE - DAY)).map_err(|error| error.to_string())?;
    Ok(bundle(&key, &certificate))
}

/// From a day ago, for clocks that are behind.
fn lasting(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::from(SystemTime::now());
    (params.not_before, params.not_after) = (now - DAY, now + life);
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn bundle(key: &KeyPair, certificate: &Certificate) -> String {
    key.serialize_pem() + &certificate.pem()
}

fn in_time(ahead: Duration) -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::since_unix_epoch(since + ahead)
}

/// As a browser does that trusts this authority alone, at that time.
fn verify(
    authority: &[u8],
    certificate: &CertificateDer,
    names: &Names,
    at: UnixTime,
) -> std::result::Result<(), webpki::Error> {
    let authority = CertificateDer::from(authority);
    let anchors = [anchor_from_trusted_cert(&authority)?];
    let certificate = EndEntityCert::try_from(certificate)?;
    let usage = KeyUsage::server_auth();
    certificate.verify_for_usage(&[ring::ECDSA_P256_SHA256], &anchors, &[], at, usage, None, None)?;
    for name in &names.0 {
        let name = ServerName::try_from(name.as_str()).map_err(|_| webpki::Error::MalformedDnsIdentifier)?;
        certificate.verify_is_valid_for_subject_name(&name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Names {
        let names: Vec<PageName> = names.iter().map(|name| name.parse().unwrap()).collect();
        Names::new(Ipv4Addr::new(203, 0, 113, 7), &names)
    }

    #[test]
    fn an_authority_signs_what_this_machine_is_called_and_nothing_else() {
        let authority = new_authority(&names(&["Gpu.example.edu", "198.51.100.1"])).unwrap();
        for good in [&["gpu.example.edu", "198.51.100.1"][..], &["gpu.example.edu"], &[], &["192.168.3.4"]] {
            signed(&authority, &names(good)).unwrap_or_else(|error| panic!("{good:?}: {error}"));
        }
        let elsewhere = Names::new(Ipv4Addr::new(10, 1, 2, 3), &[]);
        signed(&authority, &elsewhere).unwrap();
        // One that was here before is taken again where the present one may not sign.
        let other = new_authority(&names(&["else.example.edu"])).unwrap();
        let made = issue(&[other.clone(), authority.clone()], &names(&["gpu.example.edu"])).unwrap();
        assert_eq!(made.authority, authority);
        let made = issue(&[other.clone(), authority.clone()], &names(&["third.example.edu"])).unwrap();
        assert!(made.authority != authority && made.authority != other);
        for bad in ["mail.example.edu", "example.edu", "8.8.8.8"] {
            assert!(signed(&authority, &names(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_of_one_machine_are_told_apart() {
        let name = |text: &str| authority_of(&KeyPair::from_pem(text).unwrap()).distinguished_name;
        let (one, two) = (new_authority(&names(&[])).unwrap(), new_authority(&names(&[])).unwrap());
        assert_ne!(name(&one), name(&two));
        // A key of one and a certificate of the other are no authority.
        let cut = |text: &str| text.find("-----BEGIN CERTIFICATE").unwrap();
        let mixed = format!("{}{}", &one[..cut(&one)], &two[cut(&two)..]);
        assert!(signed(&mixed, &names(&[])).is_err());
    }
}
