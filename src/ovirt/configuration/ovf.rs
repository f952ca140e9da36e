//! What may be secret is taken out of an OVF, unless it is to be kept.
//!
//! The text is read event by event and written again. Nothing is expanded: a document that declares
//! a type or entities of its own is refused.

use std::collections::BTreeSet;

use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::configuration::Secrets;

/// Elements that go with all that is in them, in small letters. Configurations of snapshots are
/// whole OVFs in an encoding of their own, and nothing is restored from them.
const TAKEN: [(&str, &str); 6] = [
    ("vmpayload", "payloads"),
    ("payload", "payloads"),
    ("payloads", "payloads"),
    ("sysprepscript", "the script of the first start"),
    ("tpmdata", "the contents of the TPM"),
    (SNAPSHOT, "configurations of snapshots"),
];
const SNAPSHOT: &str = "vmconfiguration";
/// What is done at the first start of a VM; only these attributes of it stay.
const INIT: &str = "vminit";
const INIT_KEPT: [&str; 9] = [
    "hostname",
    "domain",
    "timezone",
    "regeneratekeys",
    "inputlocale",
    "uilanguage",
    "systemlocale",
    "userlocale",
    "username",
];
/// Attributes that no element may have.
const SECRET: [(&str, &str); 5] = [
    ("customscript", "the script of the first start"),
    ("rootpassword", "the password of root"),
    ("adminpassword", "the password of the administrator"),
    ("authorizedkeys", "SSH keys"),
    ("winkey", "the licence key"),
];

/// An OVF without secrets.
#[derive(Debug)]
pub(super) struct Clean {
    pub(super) text: String,
    /// What was taken out, for people.
    pub(super) taken_out: BTreeSet<&'static str>,
}

/// Takes out what no restore needs, and what may be secret unless that is kept. Errors repeat
/// nothing of the text.
pub(super) fn clean(ovf: &str, secrets: Secrets) -> Result<Clean> {
    let mut cleaner = Cleaner {
        writer: Writer::new(Vec::with_capacity(ovf.len())),
        taken_out: BTreeSet::new(),
        depth: 0,
        skip_from: None,
        secrets,
    };
    let mut reader = Reader::from_str(ovf);
    let mut has_root = false;
    loop {
        let event = reader.read_event().map_err(|_| unread())?;
        if let Event::Start(element) = &event
            && cleaner.depth == 0
        {
            if has_root || local(element.local_name().as_ref())? != "envelope" {
                return Err(unread());
            }
            has_root = true;
        }
        match event {
            Event::Eof => break,
            other => cleaner.take(other)?,
        }
    }
    if !has_root || cleaner.depth != 0 {
        return Err(unread());
    }
    let text = String::from_utf8(cleaner.writer.into_inner()).map_err(|_| unread())?;
    Ok(Clean { text, taken_out: cleaner.taken_out })
}

fn unread() -> Error {
    Error::new(ErrorKind::Remote, "the OVF of the engine does not read as one")
}

/// A name without its prefix, in small letters.
fn local(name: &[u8]) -> Result<String> {
    let name = std::str::from_utf8(name).map_err(|_| unread())?;
    Ok(name.to_ascii_lowercase())
}

struct Cleaner {
    writer: Writer<Vec<u8>>,
    taken_out: BTreeSet<&'static str>,
    /// Elements that are open.
    depth: usize,
    /// How many were when one began whose content goes.
    skip_from: Option<usize>,
    secrets: Secrets,
}

impl Cleaner {
    fn take(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::DocType(_) => return Err(unread()),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Start(element) => {
                if self.skip_from.is_none() {
                    self.open(&element, false)?;
                }
                self.depth += 1;
            }
            Event::Empty(element) if self.skip_from.is_none() => self.open(&element, true)?,
            Event::End(element) => {
                self.depth = self.depth.checked_sub(1).ok_or_else(unread)?;
                match self.skip_from {
                    Some(from) if from == self.depth => self.skip_from = None,
                    Some(_) => {}
                    None => self.write(Event::End(element))?,
                }
            }
            other if self.skip_from.is_none() => self.write(other)?,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, element: &BytesStart<'_>, is_empty: bool) -> Result<()> {
        let name = local(element.local_name().as_ref())?;
        let keeps = self.secrets == Secrets::Kept;
        if let Some((_, what)) = TAKEN.iter().find(|(taken, _)| *taken == name)
            && (!keeps || name == SNAPSHOT)
        {
            self.taken_out.insert(what);
            self.skip_unless(is_empty);
            return Ok(());
        }
        let kept = if keeps { element.clone() } else { self.without_secrets(&name, element)? };
        if name == INIT && !keeps {
            self.skip_unless(is_empty);
            return self.write(Event::Empty(kept));
        }
        self.write(if is_empty { Event::Empty(kept) } else { Event::Start(kept) })
    }

    fn skip_unless(&mut self, is_empty: bool) {
        self.skip_from = (!is_empty).then_some(self.depth);
    }

    /// The element with the attributes that stay.
    fn without_secrets<'a>(
        &mut self,
        name: &str,
        element: &BytesStart<'a>,
    ) -> Result<BytesStart<'a>> {
        let mut kept = Vec::new();
        let mut is_whole = true;
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|_| unread())?;
            let key = local(attribute.key.local_name().as_ref())?;
            let secret = SECRET.iter().find(|(secret, _)| *secret == key).map(|(_, what)| *what);
            let goes = secret.is_some() || name == INIT && !INIT_KEPT.contains(&key.as_str());
            if !goes {
                kept.push(attribute);
                continue;
            }
            is_whole = false;
            if !attribute.value.trim_ascii().is_empty() {
                self.taken_out.insert(secret.unwrap_or("settings of the first start"));
            }
        }
        if is_whole {
            return Ok(element.clone());
        }
        let mut new = BytesStart::new(
            std::str::from_utf8(element.name().as_ref()).map_err(|_| unread())?.to_owned(),
        );
        for attribute in kept {
            // It may have stood in other quotes than it is written in.
            let value = std::str::from_utf8(&attribute.value).map_err(|_| unread())?;
            let value = value.replace('"', "&quot;");
            new.push_attribute(Attribute { key: attribute.key, value: value.as_bytes().into() });
        }
        Ok(new)
    }

    fn write(&mut self, event: Event<'_>) -> Result<()> {
        self.writer.write_event(event).map_err(|_| unread())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "<?xml version='1.0' encoding='UTF-8'?><ovf:Envelope \
        xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1/\" ovf:version=\"4.4.0.0\">";

    fn cleaned(inner: &str) -> Clean {
        clean(&format!("{HEAD}{inner}</ovf:Envelope>"), Secrets::TakenOut).unwrap()
    }

    #[test]
    fn no_secret_of_an_ovf_stays_and_the_rest_does() {
        let canary = "c4n4ry";
        let clean = cleaned(&format!(
            "<Content><Name>web &amp; co</Name><VmInit ovf:hostname='say \"hi\"' \
             ovf:customScript=\"run {canary}\" ovf:rootPassword='{canary}' ovf:winKey=\"{canary}\" \
             ovf:authorizedKeys=\"{canary}\" ovf:somethingNew=\"{canary}\"><x>{canary}</x></VmInit>\
             <Section><Item><SpecParams><vmPayload><file>{canary}</file><vmPayload>{canary}\
             </vmPayload></vmPayload><bus>ide</bus></SpecParams></Item></Section>\
             <Snapshot><VmConfiguration>{canary}</VmConfiguration><Type>ACTIVE</Type></Snapshot>\
             <!-- {canary} --><a:Other xmlns:a=\"b\" a:CustomScript=\"{canary}\" a:id=\"7\"/>\
             <tail/></Content>"
        ));
        assert!(!format!("{clean:?}").contains(canary), "{}", clean.text);
        let rest = "<Content><Name>web &amp; co</Name><VmInit ovf:hostname=\"say &quot;hi&quot;\"/>\
            <Section><Item><SpecParams><bus>ide</bus></SpecParams></Item></Section>\
            <Snapshot><Type>ACTIVE</Type></Snapshot><a:Other xmlns:a=\"b\" a:id=\"7\"/><tail/>\
            </Content></ovf:Envelope>";
        assert!(clean.text.ends_with(rest), "{}", clean.text);
        let taken: Vec<_> = clean.taken_out.into_iter().collect();
        let expected = [
            "SSH keys",
            "configurations of snapshots",
            "payloads",
            "settings of the first start",
            "the licence key",
            "the password of root",
            "the script of the first start",
        ];
        assert_eq!(taken, expected);
    }

    #[test]
    fn secrets_that_are_kept_stay_and_snapshots_go_all_the_same() {
        let inner = "<VmInit ovf:customScript=\"run\" ovf:rootPassword=\"p\"><x>y</x></VmInit>\
                     <vmPayload>z</vmPayload>";
        let text =
            format!("{HEAD}{inner}<VmConfiguration>of a snapshot</VmConfiguration></ovf:Envelope>");
        let kept = clean(&text, Secrets::Kept).unwrap();
        assert_eq!(kept.text, format!("{HEAD}{inner}</ovf:Envelope>"));
        assert_eq!(kept.taken_out.into_iter().collect::<Vec<_>>(), ["configurations of snapshots"]);
    }

    #[test]
    fn an_ovf_without_secrets_stays_as_it_is_and_nothing_counts_as_taken_out() {
        let text = format!("{HEAD}<a b='c\"d'>&lt;<![CDATA[<x>]]></a>\n<e/></ovf:Envelope>");
        let clean = clean(&text, Secrets::TakenOut).unwrap();
        assert_eq!(clean.text, text);
        assert!(clean.taken_out.is_empty());
        let blank = cleaned("<VmInit ovf:customScript=\" \" ovf:domain=\"d\"/>");
        assert!(blank.text.contains("<VmInit ovf:domain=\"d\"/>") && blank.taken_out.is_empty());
    }

    #[test]
    fn what_is_no_ovf_is_refused_and_not_repeated() {
        let end = "</ovf:Envelope>";
        for text in [
            String::new(),
            "c4n4ry".to_owned(),
            "<html>c4n4ry</html>".to_owned(),
            HEAD.to_owned(),
            format!("{HEAD}<a>c4n4ry</b>{end}"),
            format!("{HEAD}{end}{HEAD}{end}"),
            format!("{HEAD}<a b=\"1\" b=\"c4n4ry\"/>{end}"),
            format!("{HEAD}<vmPayload>c4n4ry{end}"),
            format!("<!DOCTYPE x [<!ENTITY a \"c4n4ry\">]>{HEAD}&a;{end}"),
        ] {
            let error = clean(&text, Secrets::TakenOut).unwrap_err();
            assert!(!error.chain().contains("c4n4ry"), "{text}");
        }
    }

    #[test]
    fn an_ovf_as_deep_as_it_is_long_needs_no_stack() {
        let deep = 200_000;
        let text = format!("{HEAD}{}{}</ovf:Envelope>", "<a>".repeat(deep), "</a>".repeat(deep));
        assert_eq!(clean(&text, Secrets::TakenOut).unwrap().text, text);
    }
}
