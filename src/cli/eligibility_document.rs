//! The answer of `backstop eligibility` as JSON.

use serde::Serialize;

use crate::ovirt::eligibility::{Effect, Finding, Rule, Taken, Verdict};
use crate::ovirt::facts::{DiskFacts, Facts};

#[derive(Serialize)]
pub(super) struct EligibilityDocument<'a> {
    eligible: bool,
    incomplete: bool,
    vm: VmDocument<'a>,
    engine: EngineDocument,
    rules: Vec<RuleDocument>,
    findings: Vec<FindingDocument<'a>>,
    disks: Vec<DiskDocument<'a>>,
}

#[derive(Serialize)]
struct VmDocument<'a> {
    id: &'a str,
    name: &'a str,
    status: Option<&'a str>,
}

#[derive(Serialize)]
struct EngineDocument {
    version: String,
    level: Option<String>,
}

#[derive(Serialize)]
struct RuleDocument {
    rule: &'static str,
    verdict: &'static str,
}

#[derive(Serialize)]
pub(super) struct FindingDocument<'a> {
    rule: &'static str,
    effect: &'static str,
    object: ObjectDocument<'a>,
    attribute: &'static str,
    value: &'a str,
    why: &'a str,
    remedy: &'a str,
}

#[derive(Serialize)]
struct ObjectDocument<'a> {
    kind: String,
    id: Option<&'a str>,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct DiskDocument<'a> {
    id: &'a str,
    name: &'a str,
    size_bytes: Option<u64>,
    format: Option<&'a str>,
    storage_type: Option<&'a str>,
    taken: &'static str,
}

impl<'a> EligibilityDocument<'a> {
    pub(super) fn new(facts: &'a Facts, verdict: &'a Verdict) -> Self {
        let vm = &facts.vm;
        let status = vm.status.as_ref().map(|status| status.word());
        let disks = facts.disks.iter().zip(&verdict.disks);
        Self {
            eligible: verdict.is_eligible(),
            incomplete: verdict.is_incomplete(),
            vm: VmDocument { id: &vm.id, name: &vm.name, status },
            engine: EngineDocument {
                version: facts.engine.to_string(),
                level: facts.level.map(|level| level.to_string()),
            },
            rules: Rule::ALL.into_iter().map(|rule| rule_document(rule, verdict)).collect(),
            findings: verdict.findings.iter().map(finding_document).collect(),
            disks: disks.map(|(disk, taken)| disk_document(disk, *taken)).collect(),
        }
    }
}

fn rule_document(rule: Rule, verdict: &Verdict) -> RuleDocument {
    let effects: Vec<_> = verdict.of(rule).map(|finding| finding.effect).collect();
    let first = [Effect::Refuses, Effect::LeavesOut, Effect::Redacts];
    let worst = first.into_iter().find(|effect| effects.contains(effect));
    RuleDocument { rule: rule.id(), verdict: worst.map_or("passed", effect_word) }
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Refuses => "refused",
        Effect::LeavesOut => "left_out",
        Effect::Redacts => "redacted",
    }
}

pub(super) fn finding_document(finding: &Finding) -> FindingDocument<'_> {
    let object = &finding.object;
    FindingDocument {
        rule: finding.rule.id(),
        effect: effect_word(finding.effect),
        object: ObjectDocument {
            kind: object.kind.word().to_lowercase(),
            id: object.id.as_deref(),
            name: object.name.as_deref(),
        },
        attribute: finding.attribute,
        value: &finding.value,
        why: &finding.why,
        remedy: &finding.remedy,
    }
}

fn disk_document(disk: &DiskFacts, taken: Taken) -> DiskDocument<'_> {
    DiskDocument {
        id: &disk.id,
        name: &disk.name,
        size_bytes: disk.size_bytes,
        format: disk.format.as_ref().map(|format| format.word()),
        storage_type: disk.storage.as_ref().map(|storage| storage.word()),
        taken: match taken {
            Taken::Yes => "yes",
            Taken::LeftOut => "left_out",
            Taken::NotChosen => "not_chosen",
            Taken::Refused => "refused",
        },
    }
}
