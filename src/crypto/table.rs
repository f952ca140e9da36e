//! Tables of packs.

use std::borrow::Cow;

use crate::crypto::aead::{AeadKey, ONLY_NONCE};
use crate::crypto::keys::{EpochKeys, object_key};
use crate::crypto::{Sealing, sealing};
use crate::format::codec::{DecodeError, require};
use crate::format::entry::EntryKind;
use crate::format::epoch::KeyEpoch;
use crate::format::pack::{PackFooter, PackHeader, TableRow, encode_footer, encode_table};
use crate::format::sealed::TAG_LEN;

impl Sealing {
    /// The header of a new pack.
    #[must_use]
    pub fn pack_header(&self, kind: EntryKind, salt: [u8; 32]) -> PackHeader {
        let epoch = self.keys().map(|keys| keys.newest().0);
        PackHeader { kind, epoch, repo: self.repo(), salt }
    }

    /// The table and the footer of a pack whose entries end at `table_offset`.
    #[must_use]
    pub fn encode_trailer(
        &self,
        header: &PackHeader,
        table_offset: u32,
        rows: &[TableRow],
    ) -> Vec<u8> {
        let mut out = encode_table(rows);
        let count = rows.len() as u32;
        if let Some(keys) = self.keys() {
            let (epoch, of_epoch) = keys.newest();
            let aad = self.table_aad(epoch, header, table_offset, count);
            table_key(of_epoch, header).seal_tail(ONLY_NONCE, &aad, &mut out, 0);
        }
        let footer = encode_footer(header, table_offset, count, &out);
        out.extend_from_slice(&footer);
        out
    }

    /// What sealing adds to the table of a pack, in bytes.
    #[must_use]
    pub fn table_extra_len(&self) -> usize {
        if self.is_encrypted() { TAG_LEN } else { 0 }
    }

    /// Reads the table of a pack.
    pub fn open_table(
        &self,
        footer: &PackFooter,
        table: &[u8],
    ) -> Result<Vec<TableRow>, DecodeError> {
        footer.check_table(table)?;
        let header = footer.header();
        let text = match (self.keys(), header.epoch) {
            (None, None) => Cow::Borrowed(table),
            (None, Some(_)) => return Err(DecodeError::damaged("the pack is sealed")),
            (Some(_), None) => return Err(DecodeError::damaged("the pack is not sealed")),
            (Some(keys), Some(epoch)) => {
                require(header.repo == self.repo(), "the pack belongs to another repository")?;
                let offset = footer.table_range().start as u32;
                let aad = self.table_aad(epoch, header, offset, footer.entry_count());
                let mut text = table.to_vec();
                let key = table_key(keys.of(epoch)?, header);
                let opened = key.open_in_place(ONLY_NONCE, &aad, &mut text).map(|text| text.len());
                let len = opened.ok_or_else(|| DecodeError::damaged(NOT_OPENED))?;
                text.truncate(len);
                Cow::Owned(text)
            }
        };
        footer.decode_table(&text)
    }

    fn table_aad(
        &self,
        epoch: KeyEpoch,
        header: &PackHeader,
        table_offset: u32,
        entry_count: u32,
    ) -> Vec<u8> {
        let mut aad = self.aad(sealing::Sealed::Table, epoch);
        aad.extend_from_slice(&header.encode());
        aad.extend_from_slice(&table_offset.to_le_bytes());
        aad.extend_from_slice(&entry_count.to_le_bytes());
        aad
    }
}

const NOT_OPENED: &str = "the seal of the pack's table does not open: no holder of the keys wrote \
                          it";

fn table_key(keys: &EpochKeys, header: &PackHeader) -> AeadKey {
    AeadKey::new(&object_key(&keys.tables, &[&header.salt]))
}
