//! Who logs in where: clouds.yaml, as every OpenStack client reads it.

use super::session::{Login, SharedSession};
use super::transport::CALL_LIMIT;
use crate::config::secrets::Secret;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Host, files};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Where the clouds of this machine stand.
pub const PATH: &str = "/etc/openstack/clouds.yaml";

/// What the administrator's cloud is called there, by each engine (`Engine::entrance`).
pub const ADMINISTRATORS: [&str; 2] = ["gpucloud", "devstack-admin"];

#[derive(Deserialize)]
struct Clouds {
    clouds: BTreeMap<String, Cloud>,
}

#[derive(Deserialize)]
struct Cloud {
    auth: Auth,
    #[serde(default)]
    region_name: Option<String>,
    /// Seconds that an answer may take.
    #[serde(default)]
    api_timeout: Option<u32>,
}

#[derive(Deserialize)]
struct Auth {
    auth_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// None where somebody logs in to the whole cloud, as DevStack's `devstack-system-admin`.
    #[serde(default)]
    project_name: String,
}

/// A session as the first of these clouds says that there is; nothing is asked yet.
///
/// # Errors
/// The file is missing, not readable, or has no such cloud.
pub fn session(host: &Host, names: &[&str]) -> Result<SharedSession, Failure> {
    let text = match files::read_text(host, PATH) {
        Ok(Some(text)) => text,
        Ok(None) => {
            return Err(refused(
                format!("there is no {PATH}: no cloud is installed"),
                "sudo gpucloud-install installs one",
            ));
        }
        Err(error) => {
            let next = "with sudo; or as a member of group gpucloud-admin (logged in anew since)";
            return Err(Failure::new(error.to_string(), "", next).with(Ending::Refused));
        }
    };
    Ok(SharedSession::new(login(&text, names)?))
}

fn refused(what: String, next: &str) -> Failure {
    Failure::new(what, "", next).with(Ending::Refused)
}

fn login(text: &str, names: &[&str]) -> Result<Login, Failure> {
    // The parser's own words could show a password.
    let options = serde_saphyr::options! {
        // stack.sh appends a section each time that it runs; clients in Python take the last.
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
    };
    let mut clouds: Clouds = serde_saphyr::from_str_with_options(text, options)
        .map_err(|_| refused(format!("{PATH} is not of its form"), "gpucloud-install apply"))?;
    let known = clouds.clouds.keys().cloned().collect::<Vec<_>>().join(", ");
    let cloud = names.iter().find_map(|name| clouds.clouds.remove(*name)).ok_or_else(|| {
        let what = format!("{PATH} has no cloud called {}", names.join(" or "));
        Failure::usage(what, format!("--cloud NAME: one of {known}"))
    })?;
    let auth_url = cloud.auth.auth_url.trim_end_matches('/').to_owned();
    Ok(Login {
        auth_url: if Path::new(&auth_url).ends_with("v3") { auth_url } else { format!("{auth_url}/v3") },
        user: cloud.auth.username,
        password: Secret::of(cloud.auth.password),
        project: cloud.auth.project_name,
        region: cloud.region_name.unwrap_or_else(|| "RegionOne".into()),
        pace: cloud.api_timeout.map_or(1, |seconds| seconds / CALL_LIMIT.as_secs() as u32).max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "clouds:\n  devstack:\n    auth:\n      auth_url: http://192.0.2.10/identity\n      \
                        password: abcdefgh1\n      project_domain_id: default\n      project_name: demo\n      \
                        username: demo\n    identity_api_version: '3'\n    region_name: RegionOne\n  \
                        devstack-system-admin:\n    auth:\n      auth_url: http://192.0.2.10/identity\n      \
                        password: abcdefgh1\n      system_scope: all\n      username: admin\nfunctional:\n  \
                        image_name: null\nfunctional:\n  image_name: null\n";

    #[test]
    fn devstacks_own_file_is_read() {
        let login = login(TEXT, &["gpucloud", "devstack"]).unwrap();
        assert_eq!((login.auth_url.as_str(), login.user.as_str()), ("http://192.0.2.10/identity/v3", "demo"));
    }

    #[test]
    fn an_unknown_cloud_names_those_that_there_are_and_no_password() {
        let failure = login(TEXT, &["other"]).unwrap_err();
        assert!(failure.next.contains("devstack") && !format!("{failure:?}").contains("abcdefgh1"));
    }
}
