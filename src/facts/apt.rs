//! What apt downloads from, and by which proxy. A running apt is asked itself: its sources have two forms, its settings
//! nest and have comments of three kinds (sources.list(5), apt.conf(5)). In a captured tree the files are read.

use super::proxy::{self, Way};
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use ureq::http::Uri;

/// The repositories that apt uses.
///
/// # Errors
/// apt refuses its own sources: it says file and line.
pub fn urls(host: &Host) -> Result<Vec<String>> {
    if !host.is_live() {
        return in_files(host);
    }
    // (`indextargets` tells only of what was downloaded before.)
    let listed = Command::new("apt-get").args(["update", "--print-uris"]).quiet().read(host)?;
    let all: BTreeSet<String> = listed.lines().filter_map(repository).collect();
    Ok(all.into_iter().collect())
}

/// Lines of a sources.list for another root of `family` ("debian", "ubuntu") with this code name, by the mirrors that this
/// machine uses itself; none where it uses no mirror of that family.
///
/// # Errors
/// As [`urls`].
pub fn sources(host: &Host, family: &str, code: &str) -> Result<Vec<String>> {
    let all = urls(host)?;
    let path =
        |url: &str| url.parse::<Uri>().map(|uri| uri.path().trim_end_matches('/').to_owned()).unwrap_or_default();
    // Others (docker.com/linux/debian) end alike: the shortest path is a mirror's.
    let ending = |end: &str| all.iter().filter(|url| path(url).ends_with(end)).min_by_key(|url| path(url).len());
    let Some(main) = ending(&format!("/{family}")) else { return Ok(Vec::new()) };
    if family == "ubuntu" {
        let parts = ["", "-updates", "-security"];
        return Ok(parts.map(|part| format!("deb {main} {code}{part} main universe")).into());
    }
    let security = ending("/debian-security").map(|url| format!("deb {url} {code}-security main"));
    let mut lines = vec![format!("deb {main} {code} main"), format!("deb {main} {code}-updates main")];
    lines.extend(security);
    Ok(lines)
}

/// Of a line "'http://mirror.example/debian/dists/trixie/InRelease' FILE SIZE".
fn repository(line: &str) -> Option<String> {
    let url = line.strip_prefix('\'')?.split('\'').next().filter(|url| is_http(url))?;
    let base = url.split_once("/dists/").or_else(|| url.rsplit_once('/'))?.0;
    Some(format!("{base}/"))
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn in_files(host: &Host) -> Result<Vec<String>> {
    let dir = Path::new("/etc/apt/sources.list.d");
    let mut paths = vec![Path::new("/etc/apt/sources.list").to_owned()];
    paths.extend(files::list(host, dir)?.into_iter().map(|name| dir.join(name)));
    let mut urls = Vec::new();
    for path in &paths {
        let text = files::read_text(host, path)?.unwrap_or_default();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("list") => urls.extend(text.lines().filter_map(of_line)),
            Some("sources") => urls.extend(of_stanzas(&text)),
            _ => {}
        }
    }
    Ok(urls)
}

/// "deb [ arch=amd64 ] URI SUITE ..."
fn of_line(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    words.next().filter(|word| *word == "deb")?;
    words.find(|word| word.contains(':') && !word.contains('=')).filter(|url| is_http(url)).map(str::to_owned)
}

/// Those of stanzas that are not switched off; a field goes on in lines that begin with a blank (deb822(5)).
fn of_stanzas(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut field, mut urls, mut is_on) = (String::new(), Vec::new(), true);
    for line in text.lines().chain([""]).filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            let ended = std::mem::take(&mut urls);
            found.extend(if std::mem::replace(&mut is_on, true) { ended } else { Vec::new() });
            continue;
        }
        let mut value = line;
        if let Some((name, rest)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) {
            (field, value) = (name.trim().to_ascii_lowercase(), rest);
        }
        match field.as_str() {
            "uris" => urls.extend(value.split_whitespace().filter(|url| is_http(url)).map(str::to_owned)),
            "enabled" => is_on = !matches!(value.trim(), "no" | "false" | "off" | "without" | "disable" | "0"),
            _ => {}
        }
    }
    found
}

/// By which proxies apt reaches servers, by its settings.
pub(super) struct Proxies(Vec<(String, String)>);

impl Proxies {
    /// None where there is no apt to be asked.
    pub(super) fn read(host: &Host) -> Result<Self> {
        if !host.is_live() {
            return Ok(Self(Vec::new()));
        }
        Ok(Self::in_dump(&Command::new("apt-config").args(["dump", "--format=%f=%v%n", "Acquire"]).quiet().read(host)?))
    }

    fn in_dump(dump: &str) -> Self {
        let pairs = dump.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
    }

    fn setting(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.0.iter().rfind(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The way to `url`: one for this server alone, else what a program finds that apt asks, else the one for all;
    /// "DIRECT" is none (apt-transport-http(1)).
    pub(super) fn way(&self, host: &Host, url: &str) -> Way {
        let Some((uri, scheme)) =
            url.parse::<Uri>().ok().and_then(|uri| Some((uri.clone(), uri.scheme_str()?.to_owned())))
        else {
            return Way::Direct;
        };
        let server = uri.host().unwrap_or_default();
        let of = |scheme: &str, rest: &str| self.setting(&format!("Acquire::{scheme}::{rest}"));
        let finder = || of(&scheme, "Proxy-Auto-Detect").or_else(|| of(&scheme, "ProxyAutoDetect"));
        let found = || finder().and_then(|_| detected(host, url));
        let general = || of(&scheme, "Proxy").or_else(|| (scheme == "https").then(|| of("http", "Proxy")).flatten());
        let specific = of(&scheme, &format!("Proxy::{server}")).map(str::to_owned);
        match specific.or_else(found).or_else(|| general().map(str::to_owned)) {
            Some(proxy) if proxy == "DIRECT" || proxy::is_excepted(host, &uri) => Way::Direct,
            Some(url) => Way::Proxy { url, by: "apt's settings" },
            None => proxy::of_environment_for_apt(host, &uri),
        }
    }
}

/// What `apt-helper auto-detect-proxy` says, if it finds one: "Using proxy 'PROXY' for URL 'URL'".
fn detected(host: &Host, url: &str) -> Option<String> {
    let helper = Command::new("/usr/lib/apt/apt-helper").args(["auto-detect-proxy", url]);
    let said = helper.quiet().read(host).ok()?;
    said.split('\'').nth(1).filter(|proxy| !proxy.is_empty()).map(str::to_owned)
}

/// Those of apt's files of settings that name a proxy, with their text.
pub fn proxy_files(host: &Host) -> Result<Vec<(PathBuf, String)>> {
    let dir = Path::new("/etc/apt/apt.conf.d");
    let mut paths = vec![PathBuf::from("/etc/apt/apt.conf")];
    paths.extend(files::list(host, dir)?.into_iter().map(|name| dir.join(name)));
    let mut found = Vec::new();
    for path in paths {
        let text = files::read_text(host, &path)?.filter(|text| text.to_ascii_lowercase().contains("proxy"));
        found.extend(text.map(|text| (path, text)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_what_stands_before_its_indexes() {
        let of = |line: &str| repository(line);
        let line = "'http://mirror.example/debian/dists/trixie/InRelease' mirror.example_debian_InRelease 0 ";
        assert_eq!(of(line).as_deref(), Some("http://mirror.example/debian/"));
        assert_eq!(of("'https://flat.example/x/./InRelease' x 0").as_deref(), Some("https://flat.example/x/./"));
        assert_eq!((of("'cdrom:[Debian]/dists/x' x 0"), of("E: nothing")), (None, None));
    }

    #[test]
    fn lines_of_the_older_form_are_read_with_options_and_tabs() {
        let of = |line: &str| of_line(line);
        assert_eq!(of("deb http://mirror.example/debian trixie main").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(
            of("deb\t[ arch=amd64 signed-by=/k ]\thttps://a.example/x y\r").as_deref(),
            Some("https://a.example/x")
        );
        for none in
            ["# deb http://old.example/x y", "deb-src http://s.example/x y", "deb cdrom:[Debian]/ y main", "", "debian"]
        {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn stanzas_of_the_newer_form_go_on_in_further_lines_and_can_be_off() {
        let text = "Types: deb\r\nURIs: http://a.example/debian\r\n  https://b.example/debian\r\nSuites: x\r\n\r\n\
                    enabled: no\nuris: http://old.example/debian\n  \n# URIs: http://comment.example/\nURIs:http://c.example/d";
        assert_eq!(of_stanzas(text), ["http://a.example/debian", "https://b.example/debian", "http://c.example/d"]);
    }

    #[test]
    fn ubuntus_sources_are_read_without_those_switched_off() {
        let host = Host::at(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ubuntu-24.04"));
        assert_eq!(urls(&host).unwrap(), ["http://archive.ubuntu.example/ubuntu/"]);
    }

    #[test]
    fn the_way_is_the_one_that_apt_goes() {
        let dir = tempfile::tempdir().unwrap();
        let way = |dump: &str, url: &str| match Proxies::in_dump(dump).way(&Host::at(dir.path()), url) {
            Way::Direct => "direct".to_owned(),
            Way::Proxy { url, .. } => url,
        };
        let (http, https) = ("http://mirror.example/x", "https://mirror.example/x");
        let all = "Acquire::http=\nAcquire::http::Proxy=http://proxy.example:3128\n";
        assert_eq!(
            (way(all, http), way(all, https)),
            ("http://proxy.example:3128".into(), "http://proxy.example:3128".into())
        );
        let one = "acquire::HTTP::proxy::mirror.example=http://other.example:1\n";
        assert_eq!(
            (way(one, http), way(one, "http://else.example/")),
            ("http://other.example:1".into(), "direct".into())
        );
        assert_eq!(way(&format!("{all}Acquire::http::Proxy::mirror.example=DIRECT\n"), http), "direct");
        assert_eq!(way("Acquire::http::Proxy=DIRECT\n", http), "direct");
    }
}
