//! Small objects, and the names of locks.

use crate::base::hash::keyed_hash;
use crate::crypto::aead::{AeadKey, ONLY_NONCE};
use crate::crypto::keys::{EpochKeys, object_key};
use crate::crypto::{Sealing, sealing};
use crate::format::codec::DecodeError;
use crate::format::epoch::KeyEpoch;
use crate::format::layout::ObjectName;
use crate::format::sealed::SealedObject;

impl Sealing {
    /// The bytes to store under `name` for a small object; the same in a plain repository.
    #[must_use]
    pub fn seal_object(&self, name: &ObjectName, plain: &[u8]) -> Vec<u8> {
        let mut text = plain.to_vec();
        let Some(keys) = self.keys() else { return text };
        let (epoch, of_epoch) = keys.newest();
        let salt = keys.salt();
        let aad = self.object_aad(epoch, name);
        cipher(of_epoch, &salt).seal_tail(ONLY_NONCE, &aad, &mut text, 0);
        SealedObject { epoch, salt, text: &text }.encode()
    }

    /// The small object that is stored as these bytes under `name`.
    pub fn open_object(&self, name: &ObjectName, stored: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
        let Some(keys) = self.keys() else { return Ok(stored) };
        let SealedObject { epoch, salt, text } = SealedObject::decode(&stored)?;
        let aad = self.object_aad(epoch, name);
        let mut text = text.to_vec();
        let key = cipher(keys.of(epoch)?, &salt);
        let opened = key.open_in_place(ONLY_NONCE, &aad, &mut text).map(|text| text.len());
        let len = opened.ok_or_else(|| DecodeError::damaged(NOT_OPENED))?;
        text.truncate(len);
        Ok(text)
    }

    /// The name of the lock of a VM. In an encrypted repository nobody can try names of VMs on it.
    #[must_use]
    pub fn vm_lock(&self, vm: &str) -> ObjectName {
        let hash = match self.keys() {
            None => return ObjectName::vm_lock(vm),
            Some(keys) => keyed_hash(&keys.names, &[vm.as_bytes()]),
        };
        ObjectName::keyed_lock(std::array::from_fn(|i| hash[i]))
    }

    fn object_aad(&self, epoch: KeyEpoch, name: &ObjectName) -> Vec<u8> {
        let mut aad = self.aad(sealing::Sealed::Object, epoch);
        aad.extend_from_slice(name.to_string().as_bytes());
        aad
    }
}

const NOT_OPENED: &str = "the seal of the object does not open: no holder of the keys wrote it \
                          under this name";

fn cipher(keys: &EpochKeys, salt: &[u8]) -> AeadKey {
    AeadKey::new(&object_key(&keys.objects, &[salt]))
}
