//! TLS of the portal: the certificate that it shows, read anew whenever root has made another one, and the authority behind
//! it, which browsers may be told to trust.

use crate::host::{Host, files};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// Where the key lies, with its certificate and that of the authority that has signed it.
pub const FILE: &str = "/var/lib/gpucloud-portal/tls.pem";
/// The first byte of whoever speaks TLS (RFC 8446, 5.1: a record of type `handshake`); no request of HTTP begins with it.
pub const FIRST_BYTE: u8 = 22;

/// An authority's certificate, as browsers take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The certificate (DER).
    pub certificate: Vec<u8>,
    /// Its SHA-256, as browsers show it: "AB:CD:…".
    pub fingerprint: String,
}

/// A key with its certificate, and who vouches for it.
#[derive(Debug, Clone)]
pub struct Certified {
    /// What the portal shows.
    pub key: Arc<CertifiedKey>,
    /// Who has signed it.
    pub authority: Authority,
}

/// What is shown at present.
#[derive(Debug, Default)]
struct Shown(RwLock<Option<Certified>>);

/// The TLS of a portal.
#[derive(Debug)]
pub struct Tls {
    file: PathBuf,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// With what lies there, once it was [read](Tls::read).
    ///
    /// # Errors
    /// Only our own mistake: a provider without ciphers.
    pub fn new(file: PathBuf) -> Result<Self, rustls::Error> {
        let shown = Arc::new(Shown::default());
        let versions = [&version::TLS13, &version::TLS12];
        let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&versions)?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        // HTTP/2 has no upgrade, which notebooks need.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { file, shown, config: Arc::new(config) })
    }

    /// What connections are accepted with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// When the certificate was made that lies there.
    pub fn modified(&self, host: &Host) -> Option<SystemTime> {
        files::modified(host, &self.file)
    }

    /// Shows what lies there from here on.
    ///
    /// # Errors
    /// In words: what cannot be read. What was shown before still is.
    pub fn read(&self, host: &Host) -> Result<(), String> {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = Some(read(host, &self.file)?);
        Ok(())
    }

    /// The authority, once it was read.
    pub fn authority(&self) -> Option<Authority> {
        self.shown.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|shown| shown.authority.clone())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|shown| shown.key.clone())
    }
}

/// What lies there.
///
/// # Errors
/// In words: it cannot be read, or key and certificate are no pair.
pub fn read(host: &Host, file: &Path) -> Result<Certified, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = files::read_text(host, file).map_err(|error| error.to_string())?;
    let text = text.ok_or_else(|| format!("{} is missing", file.display()))?;
    let mut certificates =
        CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(|error| said(&error))?;
    let authority = certificates.pop().ok_or_else(|| said(&"it has no certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| said(&error))?;
    let key = CertifiedKey::from_der(certificates, key, &ring::default_provider()).map_err(|error| said(&error))?;
    Ok(Certified { key: Arc::new(key), authority: Authority::new(authority.to_vec()) })
}

impl Authority {
    /// Of this certificate (DER).
    pub fn new(certificate: Vec<u8>) -> Self {
        let hash: Vec<String> = Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { certificate, fingerprint: hash.join(":") }
    }
}
