//! Keys of slots, made of passwords and of random bytes.

use argon2::{Algorithm, Argon2, Params, Version};

use crate::base::hash::{derive_key, keyed_hash};
use crate::base::secret::{Secret, SecretKey};
use crate::format::codec::{DecodeError, require};
use crate::format::key_slot::{PasswordCost, SlotKind};

/// What a new password slot costs: about half a second.
pub(super) const COST_WRITTEN: PasswordCost =
    PasswordCost { memory_kib: 64 << 10, passes: 3, lanes: 1 };

/// Below this nobody has written a slot: it would make guessing cheap.
const COST_LEAST: PasswordCost = PasswordCost { memory_kib: 19 << 10, passes: 2, lanes: 1 };
/// Above this a slot is rather made to keep a reader busy.
const COST_MOST: PasswordCost = PasswordCost { memory_kib: 1 << 20, passes: 16, lanes: 8 };
/// Most passes times KiB.
const WORK_MOST: u64 = 4 << 20;

/// The two keys of a slot.
pub(super) struct SlotKeys {
    /// Seals the keyring.
    pub(super) wrapping: SecretKey,
    /// Proves the secret.
    pub(super) committing: SecretKey,
}

/// 32 bytes made of a password.
///
/// # Errors
///
/// A cost that no release writes, before any work is done; memory that is not there.
pub(super) fn stretch(
    password: &Secret,
    salt: &[u8; 16],
    cost: PasswordCost,
) -> Result<SecretKey, DecodeError> {
    check_cost(cost)?;
    let stretched = SecretKey::filled(|key| {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(key.len()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password.expose(), salt, key)
    });
    stretched.map_err(|error: argon2::Error| {
        DecodeError::newer(format!("this machine cannot make the key of the slot: {error}"))
    })
}

/// The keys of a slot of this kind, made of 32 bytes that cannot be guessed.
pub(super) fn slot_keys(kind: SlotKind, secret: &SecretKey, salt: &[u8; 16]) -> SlotKeys {
    let purpose = match kind {
        SlotKind::Password => "backstop.1 password",
        SlotKind::KeyFile => "backstop.1 key file",
        SlotKind::RecoveryCode => "backstop.1 recovery code",
    };
    let key = derive_key(purpose, secret);
    let part = |number: u8| SecretKey::new(keyed_hash(&key, &[salt, &[number]]));
    SlotKeys { wrapping: part(1), committing: part(2) }
}

fn check_cost(cost: PasswordCost) -> Result<(), DecodeError> {
    let is_within = |part: fn(&PasswordCost) -> u32| {
        (part(&COST_LEAST)..=part(&COST_MOST)).contains(&part(&cost))
    };
    let is_good = is_within(|cost| cost.memory_kib)
        && is_within(|cost| cost.passes)
        && is_within(|cost| cost.lanes)
        && u64::from(cost.memory_kib) * u64::from(cost.passes) <= WORK_MOST;
    require(is_good, "the key slot asks for work that no release asks for")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Of the reference implementation, by way of the Python package `argon2-cffi`.
    #[test]
    fn a_password_gives_the_known_answer_of_argon2id() {
        let cost = PasswordCost { memory_kib: 19 << 10, passes: 2, lanes: 1 };
        let salt = std::array::from_fn(|i| i as u8);
        let key = stretch(&Secret::from("correct horse"), &salt, cost).unwrap();
        let digits: String = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "d00b90c40f918cf889780d7d3a9ec3c2b1719df87dc5e4d4d93ea6163db04e17");
    }

    #[test]
    fn work_that_no_release_asks_for_is_refused_before_it_is_done() {
        let cost = |memory_kib, passes, lanes| PasswordCost { memory_kib, passes, lanes };
        let began = Instant::now();
        for cost in [
            cost(u32::MAX, 3, 1),
            cost(1 << 20, 16, 1),
            cost((1 << 20) + 1, 2, 1),
            cost(64 << 10, u32::MAX, 1),
            cost(64 << 10, 3, u32::MAX),
            cost(64 << 10, 3, 0),
            cost(64 << 10, 1, 1),
            cost(64 << 10, 0, 1),
            cost((19 << 10) - 1, 2, 1),
            cost(0, 0, 0),
        ] {
            assert!(stretch(&Secret::from("x"), &[0; 16], cost).is_err(), "{cost:?}");
        }
        assert!(began.elapsed() < Duration::from_millis(10));
        assert!(check_cost(COST_WRITTEN).is_ok());
    }

    #[test]
    fn the_keys_of_a_slot_differ_by_use_by_kind_and_by_salt() {
        let secret = SecretKey::new([7; 32]);
        let mut seen = Vec::new();
        for kind in [SlotKind::Password, SlotKind::KeyFile, SlotKind::RecoveryCode] {
            for salt in [[0; 16], [1; 16]] {
                let keys = slot_keys(kind, &secret, &salt);
                seen.extend([*keys.wrapping.expose(), *keys.committing.expose()]);
            }
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}
