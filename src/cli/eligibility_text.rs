//! The answer of `backstop eligibility` for people.

use std::fmt::Write;

use crate::cli::output::{Column, count, table};
use crate::cli::size::Size;
use crate::ovirt::eligibility::{Effect, Finding, Rule, Taken, Verdict};
use crate::ovirt::facts::{DiskFacts, Facts};

pub(super) fn text(facts: &Facts, verdict: &Verdict) -> String {
    let mut text = headline(facts, verdict);
    for finding in &verdict.findings {
        text.push('\n');
        text.push_str(&finding_text(finding));
    }
    if !facts.disks.is_empty() {
        text.push('\n');
        text.push_str(&disk_table(facts, verdict));
    }
    let passed = Rule::ALL.into_iter().filter(|rule| verdict.of(*rule).next().is_none());
    let passed: Vec<_> = passed.map(Rule::id).collect();
    // Writing to a string cannot fail.
    let _ = write!(text, "\nnothing found by: {}\n", passed.join(", "));
    text
}

fn headline(facts: &Facts, verdict: &Verdict) -> String {
    let name = &facts.vm.name;
    let refusals = verdict.findings.iter().filter(|f| f.effect == Effect::Refuses).count();
    match (verdict.is_eligible(), verdict.is_incomplete()) {
        (true, false) => format!("VM {name} can be backed up\n"),
        (true, true) => format!("VM {name} can be backed up, without some of its disks\n"),
        (false, _) => {
            let reasons = count(u64::try_from(refusals).unwrap_or(u64::MAX), "reason");
            format!("VM {name} cannot be backed up, for {reasons}\n")
        }
    }
}

fn finding_text(finding: &Finding) -> String {
    let effect = match finding.effect {
        Effect::Refuses => "refused",
        Effect::LeavesOut => "left out",
        Effect::Redacts => "redacted",
    };
    let Finding { object, attribute, value, why, remedy, .. } = finding;
    let rule = finding.rule.id();
    format!(
        "{effect}: {rule}: {object}: {attribute} = {value}\n  because: {why}\n  remedy:  {remedy}\n"
    )
}

fn disk_table(facts: &Facts, verdict: &Verdict) -> String {
    use Column::{Left, Right};
    let columns = [Left("DISK"), Right("SIZE"), Left("FORMAT"), Left("STORAGE"), Left("BACKUP")];
    let dash = || "-".to_owned();
    let row = |(disk, taken): (&DiskFacts, &Taken)| {
        vec![
            disk.name.clone(),
            disk.size_bytes.map_or_else(dash, |bytes| Size(bytes).to_string()),
            disk.format.as_ref().map_or_else(dash, ToString::to_string),
            disk.storage.as_ref().map_or_else(dash, ToString::to_string),
            taken_word(*taken).to_owned(),
        ]
    };
    table(&columns, facts.disks.iter().zip(&verdict.disks).map(row))
}

const fn taken_word(taken: Taken) -> &'static str {
    match taken {
        Taken::Yes => "yes",
        Taken::LeftOut => "left out",
        Taken::NotChosen => "not chosen",
        Taken::Refused => "refused",
    }
}
