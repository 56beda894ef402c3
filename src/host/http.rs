//! Downloads over HTTP, with the machine's own proxy and its own certificates.

use super::{Error, Host, Result, files};
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// How long a server may take to answer, and the reader to get the next bytes.
const LIMIT: Duration = Duration::from_secs(30);
/// What a list of hashes may measure.
const TEXT_LIMIT: u64 = 4 << 20;

/// What pip, uv and apt trust on Debian and Ubuntu.
pub const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The same, read.
pub fn trusted(host: &Host) -> Result<RootCerts> {
    Ok(authorities(&files::read(host, Path::new(TRUSTED))?.unwrap_or_default()))
}

/// Those of a bundle (PEM).
pub fn authorities(bundle: &[u8]) -> RootCerts {
    let certificates = ureq::tls::parse_pem(bundle).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    RootCerts::from(certificates)
}

/// A file that is being downloaded.
pub struct Part {
    /// The byte with which it begins.
    pub from: u64,
    /// How many bytes are left, if the server says.
    pub remaining: Option<u64>,
    /// What names this version of the content, if the server does that.
    pub tag: Option<String>,
    /// Those bytes.
    pub body: Box<dyn Read>,
}

/// The text at `url`.
pub fn text(host: &Host, url: &str) -> Result<String> {
    let mut text = String::new();
    let part = get_from(host, url, 0, None)?;
    part.body.take(TEXT_LIMIT).read_to_string(&mut text).map_err(|e| failed(url, e))?;
    Ok(text)
}

/// What is at `url` from byte `from` on; from its beginning where the server cannot do that, or has another version of
/// it than `tag` (RFC 9110, 13.1.5 and 14).
///
/// # Errors
/// No answer, or one that is no success.
pub fn get_from(host: &Host, url: &str, from: u64, tag: Option<&str>) -> Result<Part> {
    let tls = TlsConfig::builder().root_certs(trusted(host)?).build();
    let config = ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls);
    let config = config.timeout_connect(Some(LIMIT)).timeout_recv_response(Some(LIMIT)).timeout_per_read(Some(LIMIT));
    let agent = ureq::Agent::from(config.build());
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
        if let Some(tag) = tag {
            request = request.header("If-Range", tag);
        }
    }
    let response = request.call().map_err(|e| failed(url, e))?;
    let status = response.status().as_u16();
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
    let text = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (remaining, tag) = (number("content-length"), text("etag").or_else(|| text("last-modified")));
    match status {
        206 => Ok(Part { from, remaining, tag, body: Box::new(response.into_body().into_reader()) }),
        // Nothing is left after this byte.
        416 => Ok(Part { from, remaining: Some(0), tag, body: Box::new(std::io::empty()) }),
        200 => Ok(Part { from: 0, remaining, tag, body: Box::new(response.into_body().into_reader()) }),
        _ => Err(failed(url, format!("the server answers {}", response.status()))),
    }
}

fn failed(url: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::protocol(format!("download {url}"), cause)
}
