//! A reader of catalogues that was written from their page.

use backstop::base::hash::blake3_256;
use backstop::format::catalogue::{CATALOGUE_HEADER_LEN, CATALOGUE_ROW_LEN};
use backstop::format::commit::Decision;

use crate::page::Page;
use crate::samples;

#[test]
fn a_reader_gets_from_the_vector_of_a_catalogue_to_the_commits_in_it() {
    let bytes = Page::load("catalogue.md").hex("catalogue");
    let (header, rest) = bytes.split_at(CATALOGUE_HEADER_LEN);
    assert_eq!(header[48..], blake3_256(&[&header[..48], rest].concat()));
    assert_eq!(header[16..32], *samples::repo().as_bytes());
    assert_eq!(header[32..48], *samples::catalogue_id().as_bytes());
    let count = u32::from_le_bytes(std::array::from_fn(|i| header[12 + i])) as usize;
    let (rows, mut commits) = rest.split_at(count * CATALOGUE_ROW_LEN);
    let mut read = Vec::new();
    for row in rows.chunks_exact(CATALOGUE_ROW_LEN) {
        let len = u32::from_le_bytes(std::array::from_fn(|i| row[16 + i])) as usize;
        let (commit, behind) = commits.split_at(len);
        read.push((row[..16].to_vec(), Decision::decode(commit).expect("a commit")));
        commits = behind;
    }
    assert!(commits.is_empty());
    assert_eq!(read[0].1, Decision::Aborted);
    assert_eq!(read[1], (samples::session_id().as_bytes().to_vec(), Decision::Fenced));
}
