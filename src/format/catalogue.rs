//! `catalogue/*`: copies of many commits in one object, so that whoever looks at all of them does
//! not read each. Derived: what counts are the commits.
//!
//! `docs/format/catalogue.md` is the page; a test compares its tables with the `*_FIELDS` here.

use crate::base::id::{CatalogueId, RepoId, SessionId};
use crate::format::codec::{DecodeError, Field, require};

const CATALOGUE_MAGIC: &[u8; 8] = b"bscatal\n";
const VERSION_WRITTEN: u16 = 1;

const MAGIC: Field = Field::new("magic", 0, 8);
const VERSION: Field = Field::new("version", 8, 2);
const RESERVED: Field = Field::new("reserved", 10, 2);
const COMMIT_COUNT: Field = Field::new("commit_count", 12, 4);
const REPO: Field = Field::new("repo", 16, 16);
const CATALOGUE: Field = Field::new("catalogue", 32, 16);
const CHECKSUM: Field = Field::new("checksum", 48, 32);

/// Length of the header, in bytes.
pub const CATALOGUE_HEADER_LEN: usize = CHECKSUM.end();
/// The layout of the header, in order.
pub const HEADER_FIELDS: &[Field] =
    &[MAGIC, VERSION, RESERVED, COMMIT_COUNT, REPO, CATALOGUE, CHECKSUM];

const SESSION: Field = Field::new("session", 0, 16);
const COMMIT_LEN: Field = Field::new("commit_len", 16, 4);

/// Length of a row, in bytes.
pub const CATALOGUE_ROW_LEN: usize = COMMIT_LEN.end();
/// The layout of a row, in order.
pub const ROW_FIELDS: &[Field] = &[SESSION, COMMIT_LEN];

/// Copies of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue<'a> {
    /// Its own name.
    pub id: CatalogueId,
    /// The repository that it belongs to.
    pub repo: RepoId,
    /// The bytes of commits, by the sessions that they decide: ascending, each once.
    pub commits: Vec<(SessionId, &'a [u8])>,
}

impl<'a> Catalogue<'a> {
    /// The bytes of the object. Its commits must be in order, and short enough together for a
    /// length of 32 bits each.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(self.commits.is_sorted_by(|a, b| a.0 < b.0));
        let mut out = vec![0; CATALOGUE_HEADER_LEN];
        MAGIC.put(&mut out, CATALOGUE_MAGIC);
        VERSION.put(&mut out, &VERSION_WRITTEN.to_le_bytes());
        COMMIT_COUNT.put(&mut out, &(self.commits.len() as u32).to_le_bytes());
        REPO.put(&mut out, self.repo.as_bytes());
        CATALOGUE.put(&mut out, self.id.as_bytes());
        for (session, bytes) in &self.commits {
            let mut row = [0; CATALOGUE_ROW_LEN];
            SESSION.put(&mut row, session.as_bytes());
            COMMIT_LEN.put(&mut row, &(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&row);
        }
        self.commits.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
        let checksum = CHECKSUM.hash_around(&out);
        CHECKSUM.put(&mut out, &checksum);
        out
    }

    /// Reads the object. Whether each of the commits is one, only decoding it tells.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        require(bytes.len() >= CATALOGUE_HEADER_LEN, "the catalogue is cut short")?;
        require(MAGIC.of(bytes) == CATALOGUE_MAGIC, "the catalogue does not begin like one")?;
        let is_whole = CHECKSUM.of(bytes) == CHECKSUM.hash_around(bytes);
        require(is_whole, "the checksum of the catalogue does not match")?;
        let version = VERSION.u16(bytes);
        if version != VERSION_WRITTEN {
            let what =
                format!("the catalogue has format version {version}, newer than this release");
            return Err(DecodeError::newer(what));
        }
        if !RESERVED.is_zero(bytes) {
            let what = "the catalogue uses bits that this release does not know";
            return Err(DecodeError::newer(what));
        }
        Ok(Self {
            id: CatalogueId::from_bytes(CATALOGUE.array(bytes)),
            repo: RepoId::from_bytes(REPO.array(bytes)),
            commits: commits(bytes, COMMIT_COUNT.u32(bytes) as usize)?,
        })
    }
}

/// The commits behind the header, of which there are said to be so many.
fn commits(bytes: &[u8], count: usize) -> Result<Vec<(SessionId, &[u8])>, DecodeError> {
    let (rows, _) = bytes[CATALOGUE_HEADER_LEN..].as_chunks::<CATALOGUE_ROW_LEN>();
    require(count <= rows.len(), "the catalogue is too short for its rows")?;
    let mut rest = &bytes[CATALOGUE_HEADER_LEN + count * CATALOGUE_ROW_LEN..];
    let mut commits: Vec<(SessionId, &[u8])> = Vec::with_capacity(count);
    for row in &rows[..count] {
        let session = SessionId::from_bytes(SESSION.array(row));
        let is_next = commits.last().is_none_or(|(before, _)| *before < session);
        require(is_next, "the commits of the catalogue are not in order")?;
        let split = rest.split_at_checked(COMMIT_LEN.u32(row) as usize);
        let (commit, behind) =
            split.ok_or_else(|| DecodeError::damaged("a commit ends behind its catalogue"))?;
        commits.push((session, commit));
        rest = behind;
    }
    require(rest.is_empty(), "the catalogue has bytes that belong to no commit")?;
    Ok(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let session = |n| SessionId::from_bytes([n; 16]);
        let commits: Vec<(SessionId, &[u8])> = vec![(session(1), b"one"), (session(2), b"")];
        let id = CatalogueId::from_bytes([8; 16]);
        Catalogue { id, repo: RepoId::from_bytes([7; 16]), commits }.encode()
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused_as_damage() {
        let good = sample();
        assert_eq!(Catalogue::decode(&good).unwrap().commits[0].1, b"one");
        assert_eq!(Catalogue::decode(&good).unwrap().encode(), good);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!Catalogue::decode(&bad).unwrap_err().is_newer(), "bit {bit}");
        }
        assert!((0..good.len()).all(|len| Catalogue::decode(&good[..len]).is_err()));
    }

    #[test]
    fn rows_that_do_not_fit_or_are_not_in_order_are_refused_under_a_right_checksum() {
        let with = |at: usize, value: &[u8]| {
            let mut bytes = sample();
            bytes[at..at + value.len()].copy_from_slice(value);
            let checksum = CHECKSUM.hash_around(&bytes);
            CHECKSUM.put(&mut bytes, &checksum);
            Catalogue::decode(&bytes).map(|_| ()).map_err(|error| error.is_newer())
        };
        let len = CATALOGUE_HEADER_LEN + SESSION.len;
        assert_eq!(with(len, &3u32.to_le_bytes()), Ok(()));
        for (at, value) in [
            (len, &2u32.to_le_bytes()[..]),
            (len, &u32::MAX.to_le_bytes()),
            (COMMIT_COUNT.at, &1u32.to_le_bytes()),
            (COMMIT_COUNT.at, &u32::MAX.to_le_bytes()),
            (CATALOGUE_HEADER_LEN, &[2; 16]),
        ] {
            assert_eq!(with(at, value), Err(false), "{at}");
        }
        assert_eq!(with(VERSION.at, &[2]), Err(true));
        assert_eq!(with(RESERVED.at, &[1]), Err(true));
    }
}
