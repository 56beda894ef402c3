//! The dashboard in a real browser.

use super::{LAB, Verdict};
use crate::browser;
use crate::machine::{address, read};
use fantoccini::error::CmdError;
use fantoccini::{Client, Locator};

/// A page of the dashboard, logged in as `user`.
async fn dashboard_of(page: &Client, user: &str) -> Result<String, CmdError> {
    let dashboard = format!("http://{}:8080/dashboard", address(LAB));
    let secrets = read(LAB, "/etc/gpucloud/secrets.toml");
    let secret = format!("{user} = ");
    let password = secrets.lines().find_map(|line| line.strip_prefix(&secret)).unwrap().trim_matches('"');
    page.goto(&format!("{dashboard}/")).await?;
    page.wait().for_element(Locator::Id("id_username")).await?.send_keys(user).await?;
    browser::picture(page, "login").await?;
    page.find(Locator::Id("id_password")).await?.send_keys(password).await?;
    page.find(Locator::Id("loginBtn")).await?.click().await?;
    page.wait().for_element(Locator::Css(".user-name, #profile_editor_switcher")).await?;
    Ok(dashboard)
}

/// Pages of the dashboard as `user` sees them: each with what stands there, and the name of its picture.
fn seen_by(user: &str, pages: &[(&str, &str, &str)]) -> Verdict {
    browser::visit(async |page| {
        let dashboard = dashboard_of(page, user).await?;
        for (path, there, picture) in pages {
            page.goto(&format!("{dashboard}/{path}/")).await?;
            page.wait().for_element(Locator::XPath(there)).await?;
            browser::picture(page, picture).await?;
        }
        Ok(())
    })
}

/// The administrator logs in with a browser and sees the hypervisor.
pub fn administrator() -> Verdict {
    seen_by("admin", &[("admin/hypervisors", &format!("//td[contains(., '{LAB}')]"), "hypervisors")])
}

/// What was declared, as its user and the administrator see it.
pub fn of_the_resources() -> Verdict {
    let instance = "//tr[contains(., 'demo') and contains(., 'ds2G')]";
    let (private, public) = ("//*[contains(text(), 'private')]", "//*[contains(text(), 'public')]");
    seen_by(
        "demo",
        &[("project/instances", instance, "instances"), ("project/network_topology", private, "topology")],
    )?;
    let pages =
        [("admin/instances", instance, "admin-instances"), ("project/network_topology", public, "admin-topology")];
    seen_by("admin", &pages)
}
