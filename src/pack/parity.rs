//! Reed-Solomon over the shards of a pack.
//!
//! The code works on columns of 64 bytes that have nothing to do with each other, so a pack goes
//! through it in stripes that fit a processor's cache, and takes no second buffer of its length.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::base::hash::blake3_256;
use crate::base::id::{PackId, RepoId};
use crate::error::{Error, Result};
use crate::format::layout::ObjectName;
use crate::format::parity::{
    PACK_SHARDS, Parity, RECOVERY_SHARDS, SHARD_BLOCK_LEN, shard_check, shard_len,
};

/// Bytes of each shard that go through the code at once.
const STRIPE_BYTES: usize = 4096;

/// The parity of a pack with these bytes.
pub fn parity_of(repo: RepoId, pack: PackId, bytes: &[u8]) -> Result<Parity> {
    let len = shard_len(bytes.len());
    let mut recovery = vec![0; RECOVERY_SHARDS * len];
    let mut part = Vec::with_capacity(STRIPE_BYTES);
    for start in (0..len).step_by(STRIPE_BYTES) {
        let stripe = start..len.min(start + STRIPE_BYTES);
        let mut encoder = ReedSolomonEncoder::new(PACK_SHARDS, RECOVERY_SHARDS, stripe.len())
            .map_err(impossible)?;
        for shard in 0..PACK_SHARDS {
            cut(bytes, shard * len + stripe.start, stripe.len(), &mut part);
            encoder.add_original_shard(&part).map_err(impossible)?;
        }
        let encoded = encoder.encode().map_err(impossible)?;
        for (shard, made) in encoded.recovery_iter().enumerate() {
            recovery[shard * len..][stripe.clone()].copy_from_slice(made);
        }
    }
    let mut checks: Vec<_> = (0..PACK_SHARDS)
        .map(|shard| {
            cut(bytes, shard * len, len, &mut part);
            shard_check(&part)
        })
        .collect();
    checks.extend(recovery.chunks_exact(len).map(shard_check));
    Ok(Parity { repo, pack, pack_len: bytes.len() as u32, checks, recovery })
}

/// Brings the bytes of a pack back, whatever is left of them: too few and too many as well. How
/// many shards were damaged.
///
/// # Errors
///
/// [`crate::error::ErrorKind::Corrupt`] if more shards are damaged than there are good recovery
/// shards; then `bytes` are of no use any more.
pub fn bring_back(parity: &Parity, bytes: &mut Vec<u8>) -> Result<usize> {
    let len = parity.shard_len();
    bytes.resize(parity.pack_len as usize, 0);
    let mut part = Vec::with_capacity(len);
    let mut is_damaged = |shard: &usize| {
        cut(bytes, shard * len, len, &mut part);
        shard_check(&part) != parity.checks[*shard]
    };
    let damaged: Vec<usize> = (0..PACK_SHARDS).filter(|shard| is_damaged(shard)).collect();
    let recovery: Vec<_> = parity.recovery_shards().collect();
    let good = recovery.iter().flatten().count();
    if damaged.len() > good {
        let what =
            format!("{} of the pack's shards are damaged, and parity heals {good}", damaged.len());
        return Err(Error::corrupt(what).at(ObjectName::pack(parity.pack).to_string()));
    }
    if !damaged.is_empty() {
        for start in (0..len).step_by(STRIPE_BYTES) {
            let stripe = start..len.min(start + STRIPE_BYTES);
            decode_stripe(bytes, len, &stripe, &damaged, &recovery)?;
        }
    }
    if blake3_256(bytes) != *parity.pack.as_bytes() {
        let what = "what parity makes of the pack is not the pack";
        return Err(Error::corrupt(what).at(ObjectName::pack(parity.pack).to_string()));
    }
    Ok(damaged.len())
}

fn decode_stripe(
    bytes: &mut [u8],
    len: usize,
    stripe: &std::ops::Range<usize>,
    damaged: &[usize],
    recovery: &[Option<&[u8]>],
) -> Result<()> {
    let mut decoder =
        ReedSolomonDecoder::new(PACK_SHARDS, RECOVERY_SHARDS, stripe.len()).map_err(impossible)?;
    let mut part = Vec::with_capacity(stripe.len());
    for shard in (0..PACK_SHARDS).filter(|shard| !damaged.contains(shard)) {
        cut(bytes, shard * len + stripe.start, stripe.len(), &mut part);
        decoder.add_original_shard(shard, &part).map_err(impossible)?;
    }
    for (number, shard) in recovery.iter().enumerate() {
        if let Some(shard) = shard {
            decoder.add_recovery_shard(number, &shard[stripe.clone()]).map_err(impossible)?;
        }
    }
    let decoded = decoder.decode().map_err(impossible)?;
    for (shard, made) in decoded.restored_original_iter() {
        let start = (shard * len + stripe.start).min(bytes.len());
        let end = (start + stripe.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&made[..end - start]);
    }
    Ok(())
}

/// The part of a pack that begins at `start`, filled up with zeros to `len` bytes.
fn cut(bytes: &[u8], start: usize, len: usize, out: &mut Vec<u8>) {
    let start = start.min(bytes.len());
    let end = (start + len).min(bytes.len());
    out.clear();
    out.extend_from_slice(&bytes[start..end]);
    out.resize(len, 0);
}

/// Counts and lengths are constants of ours, so the code has nothing to refuse.
fn impossible(error: reed_solomon_simd::Error) -> Error {
    debug_assert!(STRIPE_BYTES.is_multiple_of(SHARD_BLOCK_LEN));
    Error::corrupt("the parity of a pack cannot be computed").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::SeededChance;

    fn pack(len: usize, dice: &SeededChance) -> (PackId, Vec<u8>, Parity) {
        let bytes: Vec<u8> = (0..len).map(|_| dice.below(256) as u8).collect();
        let id = PackId::from_bytes(blake3_256(&bytes));
        let parity = parity_of(RepoId::from_bytes([1; 16]), id, &bytes).unwrap();
        (id, bytes, parity)
    }

    #[test]
    fn up_to_four_damaged_shards_anywhere_come_back_byte_for_byte() {
        let dice = SeededChance::new(1);
        for len in [1, 63, 8192, 8193, 100_000, 700_001] {
            let (_, bytes, parity) = pack(len, &dice);
            assert_eq!(parity, Parity::decode(&parity.encode()).unwrap());
            let shards = len.div_ceil(parity.shard_len());
            for damaged in 0..=RECOVERY_SHARDS.min(shards) {
                let mut bad = bytes.clone();
                let mut hurt = std::collections::BTreeSet::new();
                while hurt.len() < damaged {
                    hurt.insert(dice.below(shards));
                }
                for shard in &hurt {
                    let start = shard * parity.shard_len();
                    let end = (start + parity.shard_len()).min(len);
                    bad[start..end].iter_mut().for_each(|byte| *byte ^= 0x55);
                }
                assert_eq!(bring_back(&parity, &mut bad).unwrap(), damaged);
                assert!(bad == bytes, "{len} bytes, {damaged} shards");
            }
        }
    }

    #[test]
    fn damaged_recovery_shards_heal_less_and_one_damaged_shard_too_many_is_said() {
        let dice = SeededChance::new(2);
        let (_, bytes, mut parity) = pack(300_000, &dice);
        parity.recovery[5] ^= 1;
        let len = parity.shard_len();
        for (shards, heals) in [(3, true), (4, false), (128, false)] {
            let mut bad = bytes.clone();
            (0..shards).for_each(|shard| bad[(shard * len).min(299_999)] ^= 1);
            let healed = bring_back(&parity, &mut bad);
            assert_eq!(healed.is_ok(), heals, "{shards} shards");
            assert_eq!(bad == bytes, heals);
        }
    }

    #[test]
    fn a_pack_that_lost_its_end_or_grew_one_comes_back() {
        let dice = SeededChance::new(3);
        let (_, bytes, parity) = pack(300_000, &dice);
        // With the part of a shard at the end these are four.
        let mut short = bytes[..300_000 - 3 * parity.shard_len()].to_vec();
        assert!(bring_back(&parity, &mut short).unwrap() <= RECOVERY_SHARDS && short == bytes);
        let mut long = [bytes.clone(), vec![9; 500]].concat();
        assert_eq!(bring_back(&parity, &mut long).unwrap(), 0);
        assert!(long == bytes);
        assert!(bring_back(&parity, &mut Vec::new()).is_err());
    }
}
