//! What client and server agree on before the first request. Pure: an option in, bytes out.

use crate::attach::nbd::export::ExportFacts;
use crate::attach::nbd::wire::{
    self, ALLOCATION, ALLOCATION_ID, INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, answer,
    handshake_flag, info, option, transmission_flag,
};

/// Bytes before the data of an option.
pub(super) const OPTION_HEADER_BYTES: usize = 16;
/// Longest option that is looked at: many times what the longest name takes.
pub(super) const OPTION_BYTES_MAX: u32 = 64 << 10;
/// Longest name.
const NAME_BYTES_MAX: usize = 4096;
/// Zeros that old clients want behind the flags of an export.
const PADDING: [u8; 124] = [0; 124];

/// What the server says first.
pub(super) fn greeting() -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..8].copy_from_slice(&INIT_MAGIC.to_be_bytes());
    bytes[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
    let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
    bytes[16..].copy_from_slice(&flags.to_be_bytes());
    bytes
}

/// The head of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OptionHeader {
    pub(super) code: u32,
    /// Bytes of data that follow, as the client says.
    pub(super) len: u32,
}

impl OptionHeader {
    /// None where it is no such thing.
    pub(super) fn decode(bytes: &[u8; OPTION_HEADER_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let is_option = fields.u64()? == OPTION_MAGIC;
        let header = Self { code: fields.u32()?, len: fields.u32()? };
        is_option.then_some(header)
    }
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Agreed {
    /// Whether replies are structured.
    pub(super) is_structured: bool,
    /// Whether the client may ask where data is.
    pub(super) has_allocation: bool,
}

/// What comes after an option.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More options.
    Option,
    /// Requests.
    Transmission(Agreed),
    /// Nothing.
    End,
}

/// One client that haggles.
pub(super) struct Haggling<'a> {
    facts: &'a ExportFacts,
    wants_padding: bool,
    agreed: Agreed,
}

impl<'a> Haggling<'a> {
    /// Begins with the flags that the client answered the greeting with; none where it set one that
    /// nobody knows.
    pub(super) fn begin(facts: &'a ExportFacts, client_flags: u32) -> Option<Self> {
        let no_zeroes = u32::from(handshake_flag::NO_ZEROES);
        let known = u32::from(handshake_flag::FIXED_NEWSTYLE) | no_zeroes;
        let wants_padding = client_flags & no_zeroes == 0;
        let agreed = Agreed::default();
        (client_flags & !known == 0).then_some(Self { facts, wants_padding, agreed })
    }

    /// Refuses an option that is too long to be looked at.
    pub(super) fn refuse_length(&self, code: u32) -> (Vec<u8>, Next) {
        match code {
            option::EXPORT_NAME => (Vec::new(), Next::End),
            _ => fail(code, answer::ERR_TOO_BIG, "the option is too long"),
        }
    }

    /// The bytes to send for an option, and what comes then.
    pub(super) fn answer(&mut self, code: u32, data: &[u8]) -> (Vec<u8>, Next) {
        match code {
            option::EXPORT_NAME => self.export_name(data),
            option::ABORT => (acknowledged(Vec::new(), code), Next::End),
            option::LIST | option::STRUCTURED_REPLY if !data.is_empty() => {
                fail(code, answer::ERR_INVALID, "this option has no data")
            }
            option::LIST => (self.list(), Next::Option),
            option::STRUCTURED_REPLY => {
                self.agreed.is_structured = true;
                (acknowledged(Vec::new(), code), Next::Option)
            }
            option::INFO | option::GO => self.go(code, data),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(code, data),
            option::STARTTLS => {
                let what = "this server has no TLS: use a Unix socket, or a tunnel";
                fail(code, answer::ERR_UNSUP, what)
            }
            _ => fail(code, answer::ERR_UNSUP, "this server does not know this option"),
        }
    }

    fn export_name(&self, name: &[u8]) -> (Vec<u8>, Next) {
        if !self.facts.is_named(name) {
            return (Vec::new(), Next::End);
        }
        let mut out = self.facts.size_bytes.to_be_bytes().to_vec();
        out.extend_from_slice(&self.flags().to_be_bytes());
        if self.wants_padding {
            out.extend_from_slice(&PADDING);
        }
        (out, Next::Transmission(self.agreed))
    }

    fn list(&self) -> Vec<u8> {
        let name = self.facts.name.as_bytes();
        let mut data = (name.len() as u32).to_be_bytes().to_vec();
        data.extend_from_slice(name);
        data.extend_from_slice(self.facts.description.as_bytes());
        let mut out = Vec::new();
        reply(&mut out, option::LIST, answer::SERVER, &data);
        acknowledged(out, option::LIST)
    }

    fn go(&self, code: u32, data: &[u8]) -> (Vec<u8>, Next) {
        let Some(wish) = Wish::decode(data) else {
            return fail(code, answer::ERR_INVALID, "the option makes no sense");
        };
        if !self.facts.is_named(wish.name) {
            return self.unknown(code);
        }
        let mut out = Vec::new();
        let mut tell = |kind: u16, data: &[&[u8]]| {
            let data = [&[&kind.to_be_bytes()[..]], data].concat().concat();
            reply(&mut out, code, answer::INFO, &data);
        };
        let (size, flags) = (self.facts.size_bytes.to_be_bytes(), self.flags().to_be_bytes());
        tell(info::EXPORT, &[&size, &flags]);
        if wish.asks_for(info::NAME) {
            tell(info::NAME, &[self.facts.name.as_bytes()]);
        }
        if wish.asks_for(info::DESCRIPTION) {
            tell(info::DESCRIPTION, &[self.facts.description.as_bytes()]);
        }
        let sizes = [wire::MIN_BLOCK_BYTES, wire::PREFERRED_BLOCK_BYTES, wire::MAX_PAYLOAD_BYTES];
        tell(info::BLOCK_SIZE, &[&sizes.map(u32::to_be_bytes).concat()]);
        let next = match code {
            option::GO => Next::Transmission(self.agreed),
            _ => Next::Option,
        };
        (acknowledged(out, code), next)
    }

    fn contexts(&mut self, code: u32, data: &[u8]) -> (Vec<u8>, Next) {
        let is_set = code == option::SET_META_CONTEXT;
        // Also one that fails takes the place of what was set before.
        self.agreed.has_allocation &= !is_set;
        if !self.agreed.is_structured {
            let what = "metadata travels in structured replies: ask for those first";
            return fail(code, answer::ERR_INVALID, what);
        }
        let Some(context) = Context::decode(data) else {
            return fail(code, answer::ERR_INVALID, "the option makes no sense");
        };
        if !self.facts.is_named(context.name) {
            return self.unknown(code);
        }
        let mut out = Vec::new();
        let is_meant = if is_set { context.is_set_by() } else { context.is_listed_by() };
        if is_meant {
            self.agreed.has_allocation |= is_set;
            let id = if is_set { ALLOCATION_ID } else { 0 };
            let data = [&id.to_be_bytes()[..], ALLOCATION].concat();
            reply(&mut out, code, answer::META_CONTEXT, &data);
        }
        (acknowledged(out, code), Next::Option)
    }

    fn unknown(&self, code: u32) -> (Vec<u8>, Next) {
        let what = format!("the only export of this server is {:?}", self.facts.name);
        fail(code, answer::ERR_UNKNOWN, &what)
    }

    fn flags(&self) -> u16 {
        use transmission_flag as flag;
        let always = flag::HAS_FLAGS
            | flag::SEND_FLUSH
            | flag::SEND_FUA
            | flag::CAN_MULTI_CONN
            | flag::SEND_CACHE;
        let changes = match self.facts.is_writable {
            true => flag::SEND_TRIM | flag::SEND_WRITE_ZEROES | flag::SEND_FAST_ZERO,
            false => flag::READ_ONLY,
        };
        let whole = if self.agreed.is_structured { flag::SEND_DF } else { 0 };
        always | changes | whole
    }
}

/// The data of `GO` and `INFO`.
struct Wish<'a> {
    name: &'a [u8],
    infos: &'a [u8],
}

impl<'a> Wish<'a> {
    fn decode(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let name = fields.name()?;
        let count = fields.u16()?;
        let infos = fields.take(usize::from(count) * 2)?;
        fields.0.is_empty().then_some(Self { name, infos })
    }

    fn asks_for(&self, kind: u16) -> bool {
        self.infos.chunks(2).any(|info| info == kind.to_be_bytes())
    }
}

/// The data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
struct Context<'a> {
    name: &'a [u8],
    queries: Vec<&'a [u8]>,
}

impl<'a> Context<'a> {
    fn decode(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let name = fields.name()?;
        let count = fields.u32()?;
        // Each takes at least four bytes: however many are promised, the data ends first.
        let queries = (0..count).map(|_| fields.name()).collect::<Option<_>>()?;
        fields.0.is_empty().then_some(Self { name, queries })
    }

    fn is_listed_by(&self) -> bool {
        let asks = |query: &&[u8]| *query == b"base:" || *query == ALLOCATION;
        self.queries.is_empty() || self.queries.iter().any(asks)
    }

    fn is_set_by(&self) -> bool {
        self.queries.contains(&ALLOCATION)
    }
}

/// Fields one after the other, each as long as the bytes last.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// A length and as many bytes.
    fn name(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        (len <= NAME_BYTES_MAX).then(|| self.take(len)).flatten()
    }
}

fn reply(out: &mut Vec<u8>, code: u32, kind: u32, data: &[u8]) {
    out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
    for number in [code, kind, data.len() as u32] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(data);
}

fn acknowledged(mut out: Vec<u8>, code: u32) -> Vec<u8> {
    reply(&mut out, code, answer::ACK, &[]);
    out
}

fn fail(code: u32, kind: u32, what: &str) -> (Vec<u8>, Next) {
    let mut out = Vec::new();
    reply(&mut out, code, kind, wire::cut(what, wire::TEXT_BYTES_MAX).as_bytes());
    (out, Next::Option)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> ExportFacts {
        ExportFacts {
            name: "sda".to_owned(),
            description: "a disk".to_owned(),
            size_bytes: 1 << 40,
            is_writable: true,
        }
    }

    fn data() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..40)
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_answered_in_frames_and_with_few_bytes(
            options in prop::collection::vec((0u32..13, data()), 0..8),
        ) {
            let facts = facts();
            let mut haggling = Haggling::begin(&facts, 3).unwrap();
            for (code, data) in options {
                let (bytes, next) = haggling.answer(code, &data);
                prop_assert!(bytes.len() < 1000);
                if code == option::EXPORT_NAME {
                    prop_assert_eq!(bytes.is_empty(), next == Next::End);
                    break;
                }
                let mut fields = Fields(&bytes);
                let mut last = 0;
                while !fields.0.is_empty() {
                    prop_assert_eq!(fields.u64(), Some(OPTION_REPLY_MAGIC));
                    prop_assert_eq!(fields.u32(), Some(code));
                    last = fields.u32().unwrap();
                    let len = fields.u32().unwrap() as usize;
                    prop_assert!(fields.take(len).is_some());
                }
                prop_assert!(last == answer::ACK || last >> 31 == 1, "{} ends the answer", last);
                if next != Next::Option {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_promise_of_many_queries_is_no_reason_to_take_memory() {
        let facts = facts();
        let mut haggling = Haggling::begin(&facts, 3).unwrap();
        haggling.answer(option::STRUCTURED_REPLY, &[]);
        let data = [&[0; 4][..], &u32::MAX.to_be_bytes()].concat();
        let (bytes, next) = haggling.answer(option::SET_META_CONTEXT, &data);
        assert_eq!(bytes[12..16], answer::ERR_INVALID.to_be_bytes());
        assert_eq!(next, Next::Option);
    }

    #[test]
    fn contexts_that_were_set_before_go_when_others_are_asked_for() {
        let facts = facts();
        let mut haggling = Haggling::begin(&facts, 3).unwrap();
        haggling.answer(option::STRUCTURED_REPLY, &[]);
        let query = [&1u32.to_be_bytes()[..], &15u32.to_be_bytes(), ALLOCATION].concat();
        haggling.answer(option::SET_META_CONTEXT, &[&[0; 4], &query[..]].concat());
        assert!(haggling.agreed.has_allocation);
        haggling.answer(option::SET_META_CONTEXT, b"nonsense");
        assert!(!haggling.agreed.has_allocation);
    }
}
