//! Recovery codes: 32 random bytes as text that people print and type.
//!
//! 56 letters and digits in groups of four, without those that look like others. The last five
//! letters, and a bit of the one before, are a checksum, so that typing errors are found.

use crate::base::hash::blake3_256;
use crate::base::secret::{Secret, SecretKey};

/// Crockford's alphabet: no I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LETTERS: usize = 56;
const LETTERS_PER_GROUP: usize = 4;
const CHECK_LEN: usize = 3;
/// A text of so many letters and digits more or less was meant to be a code.
const SLACK: usize = 4;

/// What a text is that somebody typed.
pub enum RecoveryText {
    /// A recovery code.
    Code(SecretKey),
    /// It looks like one and has a typing error.
    Mistyped,
    /// Something else, such as a password.
    Other,
}

/// The code of these bytes.
#[must_use]
pub fn recovery_code(key: &SecretKey) -> Secret {
    let mut bytes = Secret::with_capacity(32 + CHECK_LEN);
    bytes.push(key.expose());
    bytes.push(&check(key));
    let mut code = Secret::with_capacity(LETTERS + LETTERS / LETTERS_PER_GROUP);
    for (number, five) in bytes.expose().chunks(5).enumerate() {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for letter in 0..8 {
            if (number * 8 + letter) % LETTERS_PER_GROUP == 0 && number + letter > 0 {
                code.push(b"-");
            }
            let value = bits >> (35 - 5 * letter) & 31;
            code.push(&[ALPHABET[value as usize]]);
        }
    }
    code
}

/// Reads what somebody typed. Case, blanks and dashes do not matter, and the letters O, I and L are
/// read as the digits that they look like.
#[must_use]
pub fn read_recovery_code(text: &[u8]) -> RecoveryText {
    let mut letters = Secret::with_capacity(text.len());
    for byte in text {
        match byte.to_ascii_uppercase() {
            b'-' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b'O' => letters.push(b"0"),
            b'I' | b'L' => letters.push(b"1"),
            letter if letter.is_ascii_alphanumeric() => letters.push(&[letter]),
            _ => return RecoveryText::Other,
        }
    }
    if letters.expose().len().abs_diff(LETTERS) > SLACK {
        return RecoveryText::Other;
    }
    decode(letters.expose()).map_or(RecoveryText::Mistyped, RecoveryText::Code)
}

fn decode(letters: &[u8]) -> Option<SecretKey> {
    if letters.len() != LETTERS {
        return None;
    }
    let mut bytes = Secret::with_capacity(32 + CHECK_LEN);
    for eight in letters.chunks(8) {
        let mut bits = 0_u64;
        for letter in eight {
            let value = ALPHABET.iter().position(|known| known == letter)?;
            bits = bits << 5 | value as u64;
        }
        bytes.push(&bits.to_be_bytes()[3..]);
    }
    let (key, stored) = bytes.expose().split_first_chunk()?;
    let key = SecretKey::new(*key);
    (check(&key) == stored).then_some(key)
}

fn check(key: &SecretKey) -> [u8; CHECK_LEN] {
    let mut text = Secret::new(b"backstop.1 recovery code".to_vec());
    text.push(key.expose());
    let hash = blake3_256(text.expose());
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(key: [u8; 32]) -> String {
        String::from_utf8(recovery_code(&SecretKey::new(key)).expose().to_vec()).unwrap()
    }

    fn read(text: &str) -> Option<[u8; 32]> {
        match read_recovery_code(text.as_bytes()) {
            RecoveryText::Code(key) => Some(*key.expose()),
            RecoveryText::Mistyped | RecoveryText::Other => None,
        }
    }

    #[test]
    fn a_code_is_fourteen_groups_of_four() {
        let code = text_of(std::array::from_fn(|i| i as u8));
        let groups: Vec<_> = code.split('-').collect();
        assert_eq!(groups.len(), 14, "{code}");
        assert!(groups.iter().all(|group| group.len() == 4), "{code}");
        assert!(code.starts_with("000G-40R4-0M30-E209"), "{code}");
    }

    #[test]
    fn a_text_that_was_meant_to_be_a_code_is_told_from_a_password() {
        let is_other =
            |text: &str| matches!(read_recovery_code(text.as_bytes()), RecoveryText::Other);
        let code = text_of([7; 32]);
        assert!(!is_other(&code[2..]) && read(&code[2..]).is_none());
        for text in ["", "correct horse battery staple", "pässword", &"x".repeat(200)] {
            assert!(is_other(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_code_reads_back_however_it_is_spaced_and_written(key: [u8; 32]) {
            let code = text_of(key);
            prop_assert_eq!(read(&code), Some(key));
            prop_assert_eq!(read(&code.to_lowercase().replace('-', " ")), Some(key));
            let alike = code.replace('-', "").replace('0', "o").replace('1', "l");
            prop_assert_eq!(read(&alike), Some(key));
        }

        #[test]
        fn a_wrong_letter_and_two_that_changed_places_are_found(
            key: [u8; 32],
            at in 0..LETTERS,
            letter in 0..32_usize,
        ) {
            let right = text_of(key).replace('-', "").into_bytes();
            let mut wrong = right.clone();
            wrong[at] = ALPHABET[letter];
            let mut swapped = right.clone();
            swapped.swap(at, (at + 1) % LETTERS);
            for text in [wrong, swapped].into_iter().filter(|text| *text != right) {
                prop_assert!(matches!(read_recovery_code(&text), RecoveryText::Mistyped));
            }
        }

        #[test]
        fn any_text_can_be_read(text: Vec<u8>) {
            let _ = read_recovery_code(&text);
        }
    }
}
