//! Colours, tables, the plan and findings as text. Colour never carries a meaning alone, and NO_COLOR is respected
//! (by the `console` crate below indicatif).

use crate::action::Checked;
use crate::finding::{Described, Finding, Level};
use crate::installation::OpenPort;
use crate::network::probe::Hop;
use crate::plan::{Plan, PlannedStep};
use crate::recovery::health::LayerHealth;
use console::{Alignment, measure_text_width, pad_str};
use indicatif::style;

pub use style_names::{bold, cyan, dim, green, red, yellow};

mod style_names {
    use dialoguer::console::Style;

    fn paint(style: Style, text: &str) -> String {
        style.for_stderr().apply_to(text).to_string()
    }

    /// Success.
    pub fn green(text: &str) -> String {
        paint(Style::new().green(), text)
    }

    /// Failure.
    pub fn red(text: &str) -> String {
        paint(Style::new().red().bold(), text)
    }

    /// Warning.
    pub fn yellow(text: &str) -> String {
        paint(Style::new().yellow(), text)
    }

    /// What to type next.
    pub fn cyan(text: &str) -> String {
        paint(Style::new().cyan(), text)
    }

    /// Less important.
    pub fn dim(text: &str) -> String {
        paint(Style::new().dim(), text)
    }

    /// Headings.
    pub fn bold(text: &str) -> String {
        paint(Style::new().bold(), text)
    }
}

/// Whether the terminal shows more than ASCII.
pub fn is_utf8() -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    locale.is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"))
}

/// Rows with aligned columns, two blanks between them; Chinese letters take two places.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell));
        cells.chain([measure_text_width(header[column])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// The first names of a list that may be long.
fn first_few(all: &[String]) -> String {
    const FEW: usize = 5;
    match all.len().saturating_sub(FEW) {
        0 => all.join(", "),
        more => format!("{} and {more} more", all[..FEW].join(", ")),
    }
}

/// The plan in words: each step that would do something, each action with what it changes.
pub fn plan(plan: &Plan, with_diffs: bool) -> String {
    let mut lines = Vec::new();
    let undone = plan.orphans.iter().filter_map(|orphan| orphan.undo.as_deref());
    lines.extend(undone.map(|undo| format!("no longer wanted: {undo}")));
    let kept: Vec<String> = plan.orphans.iter().filter(|o| o.undo.is_none()).map(|o| o.id.to_string()).collect();
    if !kept.is_empty() {
        lines.push(format!("no longer wanted, but kept for the data that it carries: {}", first_few(&kept)));
    }
    for step in plan.steps.iter().filter(|step| step.pending() > 0) {
        lines.push(bold(&format!("{} ({})", step.step.title, step.step.id)));
        lines.extend(actions(step, with_diffs));
    }
    lines.extend(plan.left_alone().into_iter().map(|(_, left)| finding(left)));
    lines.push(match plan.pending() {
        0 => "Nothing to do: this machine is what the answers say.".into(),
        1 => "1 change.".into(),
        n => format!("{n} changes."),
    });
    lines.join("\n")
}

fn actions(step: &PlannedStep, with_diffs: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for action in step.actions.iter().filter(|action| action.is_pending()) {
        match &action.checked {
            Checked::Needed(change) => {
                lines.push(format!("  {} {}: {}", green("+"), action.description, change.summary));
                let diff = change.diff.as_deref().filter(|_| with_diffs).unwrap_or_default();
                lines.extend(diff.lines().map(|line| format!("      {line}")));
            }
            Checked::Later(why) => lines.push(format!("  {} {}: later, {why}", yellow("~"), action.description)),
            Checked::Blocked(finding) => lines.push(format!("  {} {}: {}", red("!"), action.description, finding.what)),
            Checked::Done | Checked::LeftAlone(_) => {}
        }
    }
    lines
}

/// The plan in a few words: how many changes of which kind.
pub fn plan_summary(plan: &Plan) -> String {
    let mut kinds: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for action in plan.steps.iter().flat_map(|step| &step.actions).filter(|action| action.is_pending()) {
        *kinds.entry(kind_in_words(action.id.kind())).or_default() += 1;
    }
    let parts: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    format!("{} changes: {}", plan.pending(), parts.join(", "))
}

fn kind_in_words(kind: &str) -> &str {
    match kind {
        "file" => "files",
        "directory" => "directories",
        "link" => "links",
        "packages" | "archives" => "package groups",
        "unit" => "units enabled",
        "started" => "units started",
        "user" | "group" | "member" => "accounts",
        "database" | "database-user" | "schema" => "database objects",
        "network" => "network states",
        "service-user" | "endpoints" | "resource" => "cloud objects",
        _ => "tasks",
    }
}

/// Ports of the cloud, and to whom they are open.
pub fn ports(ports: &[OpenPort]) -> String {
    let rows: Vec<Vec<String>> = ports
        .iter()
        .map(|p| vec![p.port.to_string(), p.service.into(), p.purpose.into(), p.open_to.join(" ")])
        .collect();
    table(&["PORT", "SERVICE", "FOR", "OPEN TO"], &rows)
}

/// Hops between instances and the world.
pub fn hops(hops: &[Hop]) -> String {
    let mark = |hop: &Hop| match hop.ok {
        Some(true) => green("ok  "),
        Some(false) => red("no  "),
        None => dim("-   "),
    };
    let lines = hops.iter().map(|hop| format!("{} {:<14} {}", mark(hop), hop.name, hop.detail));
    lines.collect::<Vec<_>>().join("\n")
}

/// Findings, the grave ones last, where they are seen.
pub fn findings(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    sorted.into_iter().map(finding).collect::<Vec<_>>().join("\n")
}

/// Checks, each with what is so when all is well.
pub fn checks(checks: &[Described]) -> String {
    let line = |check: &Described| format!("{:<22} {}", check.id, check.description);
    checks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One finding with evidence and advice.
pub fn finding(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Pass => green("pass"),
        Level::Warn => yellow("warn"),
        Level::Stop => red("stop"),
    };
    let mut text = format!("{mark}  {}", finding.what);
    if !finding.evidence.is_empty() {
        text.push_str(&format!("\n      {}", dim(&finding.evidence)));
    }
    if !finding.next.is_empty() && finding.level != Level::Pass {
        text.push_str(&format!("\n      {} {}", cyan("next:"), finding.next));
    }
    text
}

/// Layers of a cloud with their health.
pub fn layers(layers: &[LayerHealth]) -> String {
    let line = |layer: &LayerHealth| {
        let mark = if layer.healthy { green("up  ") } else { red("DOWN") };
        format!("{mark}  {:<11} {}", layer.name, layer.detail)
    };
    layers.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The style of a running step's line.
pub fn spinner_style() -> indicatif::ProgressStyle {
    let ticks = if is_utf8() { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " };
    let template = style::ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}");
    template.unwrap_or_else(|_| style::ProgressStyle::default_spinner()).tick_chars(ticks)
}

/// How far something is: "12/600 MiB of x"; without a total where nobody knows it.
pub fn amount(done: u64, total: u64, what: &str) -> String {
    if total == 0 { format!("{done} {what}") } else { format!("{done}/{total} {what}") }
}

/// The style of one piece of work.
pub fn bar_style() -> indicatif::ProgressStyle {
    let template = style::ProgressStyle::with_template("{elapsed:.dim} [{bar:30}] {wide_msg:.dim}");
    template.unwrap_or_else(|_| style::ProgressStyle::default_bar()).progress_chars(bar_chars())
}

/// The style of the line that counts steps.
pub fn overall_style() -> indicatif::ProgressStyle {
    let template = style::ProgressStyle::with_template("[{bar:30}] {pos}/{len} steps, {elapsed}");
    template.unwrap_or_else(|_| style::ProgressStyle::default_bar()).progress_chars(bar_chars())
}

fn bar_chars() -> &'static str {
    if is_utf8() { "━╸ " } else { "=> " }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = table(&["NAME", "MTU"], &[vec!["a".into(), "1500".into()], vec!["enp4s0".into(), "9000".into()]]);
        assert_eq!(text, "NAME    MTU\na       1500\nenp4s0  9000");
        let wide =
            table(&["NAME", "STATE"], &[vec!["北京".into(), "ACTIVE".into()], vec!["Größe".into(), "ERROR".into()]]);
        assert_eq!(wide, "NAME   STATE\n北京   ACTIVE\nGröße  ERROR");
    }
}
