//! The page of key slots and the code wrap the same bytes.

use backstop::base::secret::SecretKey;
use backstop::crypto::{RecoveryText, open_slot, read_recovery_code, recovery_code};
use backstop::format::key_slot::{KeySlot, SlotKind};
use backstop::repo::KEY_SLOTS_MAX;

use crate::page::Page;
use crate::{check_small, samples};

#[test]
fn the_slots_of_the_page_are_what_the_code_writes_and_their_secrets_open_them() {
    let keyring = Page::load("sealing.md").hex("keyring");
    for (vector, kind) in
        [("key-file-slot", SlotKind::KeyFile), ("password-slot", SlotKind::Password)]
    {
        let slot = samples::slot_of(kind);
        let heading = (kind == SlotKind::Password).then_some("Payload");
        check_small(("key.md", heading, vector), &slot, KeySlot::encode, KeySlot::decode);
        let opened = open_slot(&slot, &samples::slot_secret(kind)).expect("a sound slot");
        assert_eq!(opened.expect("its secret").encode().expose(), keyring);
    }
}

#[test]
fn the_header_that_the_page_shows_is_what_a_slot_is_bound_to() {
    let header = samples::slot_of(SlotKind::Password).header;
    assert_eq!(Page::load("key.md").hex("bound-header"), header.canonical());
}

#[test]
fn the_recovery_code_of_the_page_is_that_of_its_key() {
    let code = recovery_code(&samples::slot_key());
    let text = String::from_utf8(code.expose().to_vec()).expect("a code is text");
    assert!(Page::load("key.md").text().contains(&format!("`{text}`")), "{text}");
    let RecoveryText::Code(key) = read_recovery_code(code.expose()) else { panic!("a code") };
    assert_eq!(SecretKey::expose(&key), samples::slot_key().expose());
}

#[test]
fn the_page_tells_how_many_slots_there_may_be() {
    assert!(Page::load("key.md").text().contains(&format!("at most {KEY_SLOTS_MAX} slots")));
}
